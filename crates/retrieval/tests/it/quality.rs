//! Whether questions as people ask them find the passage that answers them.
//!
//! The samples are small and the thresholds close to what is reached, so that a loss in the analysis
//! (folding, pairs, stems, codes) fails here.

use std::collections::HashMap;

use parlance_retrieval::{Change, PassageTerms, Scope, TextIndex};
use serde_json::Value;

use crate::{base, id, organisation, put};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Quality {
    recall_at_1: f64,
    recall_at_5: f64,
    mean_reciprocal_rank: f64,
    /// Mean score of the passages that answer, and of the best other ones.
    right_score: f64,
    wrong_score: f64,
    missed: Vec<String>,
}

fn measure(passages: &str, questions: &str) -> Quality {
    let directory = tempfile::tempdir().unwrap();
    let index = TextIndex::open(directory.path()).unwrap().index;
    let mut texts = HashMap::new();
    let changes: Vec<Change> = lines(passages)
        .iter()
        .map(|line| {
            let (number, text) = (u128::from(line["id"].as_u64().unwrap()), line["text"].as_str().unwrap());
            texts.insert(id(number), text.to_owned());
            put(number, number, text)
        })
        .collect();
    index.apply(&changes, 1).unwrap();
    let questions = lines(questions);
    let count = questions.len() as f64;
    let mut quality = Quality {
        recall_at_1: 0.0,
        recall_at_5: 0.0,
        mean_reciprocal_rank: 0.0,
        right_score: 0.0,
        wrong_score: 0.0,
        missed: Vec::new(),
    };
    for line in &questions {
        let question = line["question"].as_str().unwrap();
        let wanted = id(u128::from(line["passage"].as_u64().unwrap()));
        let results = index.search(question, &Scope::of_bases(organisation(), [base()]), 10).unwrap();
        let rank = results.hits.iter().position(|hit| hit.passage == wanted);
        if let Some(rank) = rank {
            quality.mean_reciprocal_rank += 1.0 / (rank as f64 + 1.0) / count;
        }
        if rank == Some(0) {
            quality.recall_at_1 += 1.0 / count;
        } else {
            quality.missed.push(format!("{question} {rank:?}"));
        }
        if rank.is_some_and(|rank| rank < 5) {
            quality.recall_at_5 += 1.0 / count;
        }
        let score = |passage| f64::from(results.terms.share(&PassageTerms::of(&texts[passage])));
        quality.right_score += score(&wanted) / count;
        let others = texts.keys().filter(|passage| **passage != wanted);
        quality.wrong_score += others.map(score).fold(0.0, f64::max) / count;
    }
    #[expect(clippy::print_stdout, reason = "shown when the test fails")]
    {
        println!(
            "recall@1 {:.3} recall@5 {:.3} MRR@10 {:.3} score of the right passage {:.3}, of the best wrong one {:.3}\nnot first: {:#?}",
            quality.recall_at_1,
            quality.recall_at_5,
            quality.mean_reciprocal_rank,
            quality.right_score,
            quality.wrong_score,
            quality.missed
        );
    }
    quality
}

#[test]
fn chinese_questions_find_their_passages() {
    let quality =
        measure(include_str!("samples/chinese-passages.jsonl"), include_str!("samples/chinese-questions.jsonl"));
    assert!(quality.recall_at_1 >= 0.96, "{}", quality.recall_at_1);
    assert!(quality.recall_at_5 >= 0.985, "{}", quality.recall_at_5);
    assert!(quality.mean_reciprocal_rank >= 0.975, "{}", quality.mean_reciprocal_rank);
    assert!(quality.right_score >= 0.38, "{}", quality.right_score);
    assert!(quality.wrong_score <= 0.14, "{}", quality.wrong_score);
}

#[test]
fn english_questions_find_their_passages() {
    let quality =
        measure(include_str!("samples/english-passages.jsonl"), include_str!("samples/english-questions.jsonl"));
    assert!(quality.recall_at_1 >= 0.93, "{}", quality.recall_at_1);
    assert!(quality.recall_at_5 >= 0.985, "{}", quality.recall_at_5);
    assert!(quality.mean_reciprocal_rank >= 0.955, "{}", quality.mean_reciprocal_rank);
    assert!(quality.right_score >= 0.6, "{}", quality.right_score);
    assert!(quality.wrong_score <= 0.25, "{}", quality.wrong_score);
}
