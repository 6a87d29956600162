//! Prints how fast analysis, indexing, search and scoring are on this machine:
//! `cargo run --release -p parlance-retrieval --example measure`.

use std::io::Write;
use std::time::Instant;

use parlance_domain::kind::{KnowledgeBaseId, OrganisationId};
use parlance_domain::{Id, IdKind};
use parlance_retrieval::{
    Analysis, BaseScope, Change, IndexedPassage, IndexedVector, PassageTerms, QuestionTerms, Scope, Source, TextIndex,
    VectorChange, VectorIndex,
};
use uuid::Uuid;

const PASSAGES: u128 = 3_300;
const LENGTH: usize = 500;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn id<K: IdKind>(number: u128) -> Id<K> {
    Id::from_uuid(Uuid::from_u128(number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
}

/// Text with the frequencies of language: words of two characters, a few of them very frequent.
struct Writer(u64);

impl Writer {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn text(&mut self, length: usize) -> String {
        let mut text = String::new();
        for position in 0..length / 2 {
            // Ranks 1 to 8,000 with probability in inverse proportion (Zipf): e to the power of a
            // uniform number. Scaled to whole numbers for the characters.
            let uniform = f64::from(u32::try_from(self.number() % 1_000_000).unwrap_or_default()) / 1e6;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 8,000")]
            let rank = (uniform * 8_000_f64.ln()).exp() as u64 * 7_919;
            for part in [rank % 3_011, rank % 2_003] {
                let code = 0x4E00 + u32::try_from(part).unwrap_or_default() * 5 % 20_000;
                text.extend(char::from_u32(code));
            }
            if position % 9 == 8 {
                text.push('，');
            }
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn main() -> Outcome {
    let mut out = std::io::stdout();
    let mut writer = Writer(1);
    let texts: Vec<String> = (0..PASSAGES).map(|_| writer.text(LENGTH)).collect();
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let scope = Scope::of_bases(organisation(), [base()]);

    let mut analysis = Analysis::new();
    analysis.analyse("暖機");
    let start = Instant::now();
    let terms: usize = texts
        .iter()
        .map(|text| {
            analysis.analyse(text);
            analysis.terms().len()
        })
        .sum();
    let speed = per(characters, start.elapsed().as_secs_f64());
    writeln!(out, "analysis: {speed:.0} characters/s, {terms} terms")?;

    let directory = std::env::temp_dir().join(format!("parlance-measure-{}", std::process::id()));
    let index = TextIndex::open(&directory.join("text"))?.index;
    for (name, batch) in [("one commit", 3_300), ("commits of 100", 100), ("commits of 10", 10)] {
        index.apply(&[Change::RemoveBase(base())], 0)?;
        let start = Instant::now();
        for (number, texts) in texts.chunks(batch).enumerate() {
            index.apply(&changes(texts, number * batch), 1)?;
        }
        let speed = per(characters, start.elapsed().as_secs_f64());
        writeln!(out, "apply, {name}: {speed:.0} characters/s, {} segments", index.health()?.segments)?;
        searches(&mut out, &index, &scope, &mut writer)?;
    }
    let start = Instant::now();
    index.rest()?;
    let health = index.health()?;
    writeln!(
        out,
        "rest: {:.0} ms, {} segments, {} bytes",
        start.elapsed().as_secs_f64() * 1e3,
        health.segments,
        health.bytes
    )?;
    searches(&mut out, &index, &scope, &mut writer)?;

    let question = QuestionTerms::without_statistics(&writer.text(20));
    let start = Instant::now();
    let total: f32 = texts.iter().map(|text| question.share(&PassageTerms::of(text))).sum();
    let micros = start.elapsed().as_secs_f64() * 1e6 / per(texts.len(), 1.0);
    writeln!(out, "share of a passage of {LENGTH} characters: {micros:.1} us (sum {total:.1})")?;
    vectors(&mut out, &directory.join("vectors"), &mut writer)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn organisation() -> OrganisationId {
    id(1)
}

fn base() -> KnowledgeBaseId {
    id(2)
}

fn changes(texts: &[String], first: usize) -> Vec<Change> {
    let numbered = (first as u128..).zip(texts);
    numbered
        .map(|(number, text)| {
            Change::Put(IndexedPassage {
                organisation: organisation(),
                base: base(),
                source: Source::File(id(1_000_000 + number / 10)),
                generation: 1,
                passage: id(100 + number),
                text: text.clone(),
                heading: None,
            })
        })
        .collect()
}

fn searches(out: &mut impl Write, index: &TextIndex, scope: &Scope, writer: &mut Writer) -> Outcome {
    let questions: Vec<String> = (0..2_000).map(|_| writer.text(20)).collect();
    let mut micros = Vec::new();
    for question in &questions {
        let start = Instant::now();
        index.search(question, scope, 20)?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let start = Instant::now();
    std::thread::scope(|threads| -> Outcome {
        let halves: Vec<_> = questions
            .chunks(questions.len() / 2)
            .map(|half| threads.spawn(move || half.iter().try_for_each(|q| index.search(q, scope, 20).map(drop))))
            .collect();
        for half in halves {
            half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })?;
    let speed = per(questions.len(), start.elapsed().as_secs_f64());
    let (median, slow) = (micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
    writeln!(out, "  search of 20 characters: p50 {median:.0} us, p99 {slow:.0} us; two threads {speed:.0}/s")?;
    Ok(())
}

fn vectors(out: &mut impl Write, directory: &std::path::Path, writer: &mut Writer) -> Outcome {
    let index = VectorIndex::open(directory)?.index;
    let mut vector = || -> Vec<f32> {
        (0..384).map(|_| f32::from(u16::try_from(writer.number() & 0xFFFF).unwrap_or_default()) - 32_768.0).collect()
    };
    let changes: Vec<VectorChange> = (0..5_000)
        .map(|number| {
            VectorChange::Put(IndexedVector {
                organisation: organisation(),
                base: base(),
                embeddings: 1,
                source: Source::File(id(number / 10)),
                generation: 1,
                passage: id(number),
                vector: vector(),
            })
        })
        .collect();
    let start = Instant::now();
    index.apply(&changes, 1)?;
    let speed = per(changes.len(), start.elapsed().as_secs_f64());
    let question = vector();
    let start = Instant::now();
    for _ in 0..100 {
        index.search(organisation(), &BaseScope::whole(base()), 1, &question, 20)?;
    }
    let micros = start.elapsed().as_secs_f64() * 1e4;
    writeln!(out, "vectors of 384: put {speed:.0}/s, exact search of 5,000: {micros:.0} us")?;
    Ok(())
}
