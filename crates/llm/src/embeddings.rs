//! Vectors from `POST .../embeddings` (OpenAI, Azure and compatible servers), and what all
//! embedding clients share: batches and checks.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use parlance_outbound::{Url, header::HeaderName, header::HeaderValue};
use serde::{Deserialize, Serialize};

use crate::call::{Caller, post_json};
use crate::chat::{EmbeddingModel, EmbeddingPurpose};
use crate::error::{Error, ErrorKind};

/// Texts in one call. Providers take from 96 (Cohere) to 2048 (OpenAI).
const TEXTS_PER_CALL: usize = 64;
/// Bytes of text in one call; keeps below the token limits per call.
const BYTES_PER_CALL: usize = 120_000;
/// Calls at a time for one list of texts.
const CALLS_AT_A_TIME: usize = 4;

/// An embedding model behind the OpenAI protocol.
#[derive(Debug)]
pub(crate) struct OpenAiEmbeddings {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) model: String,
    pub(crate) dimensions: Dimensions,
}

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct AnswerBody {
    data: Vec<AnswerItem>,
}

#[derive(Deserialize)]
struct AnswerItem {
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl EmbeddingModel for OpenAiEmbeddings {
    fn embed(&self, texts: Vec<String>, _purpose: EmbeddingPurpose) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        async move { embed_in_batches(&texts, TEXTS_PER_CALL, &self.dimensions, |batch| self.embed_batch(batch)).await }
            .boxed()
    }

    fn dimensions(&self) -> Option<usize> {
        self.dimensions.get()
    }
}

impl OpenAiEmbeddings {
    async fn embed_batch(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let body = RequestBody {
            model: &self.model,
            input: texts.iter().map(|text| not_empty(text)).collect(),
            encoding_format: "float",
            dimensions: self.dimensions.configured,
        };
        let request = post_json(self.url.clone(), &self.headers, &body)?;
        let answer: AnswerBody = self.caller.json(&request).await?;
        in_order(answer.data.into_iter().map(|item| (item.index, item.embedding)), texts.len())
    }
}

/// The length of a model's vectors: configured, or learned from the first answer.
#[derive(Debug)]
pub(crate) struct Dimensions {
    pub(crate) configured: Option<usize>,
    /// 0 until known.
    learned: AtomicUsize,
}

impl Dimensions {
    pub(crate) fn new(configured: Option<usize>) -> Self {
        Self { configured, learned: AtomicUsize::new(0) }
    }

    pub(crate) fn get(&self) -> Option<usize> {
        self.configured.or_else(|| Some(self.learned.load(Ordering::Relaxed)).filter(|length| *length > 0))
    }

    /// Checks vectors against the known length, or learns it from them.
    fn check(&self, vectors: &[Vec<f32>]) -> Result<(), Error> {
        let Some(first) = vectors.first() else { return Ok(()) };
        let expected = self.get().unwrap_or(first.len());
        let is_usable = |vector: &Vec<f32>| vector.len() == expected && vector.iter().all(|number| number.is_finite());
        if expected == 0 || !vectors.iter().all(is_usable) {
            let detail = format!("vectors of {} numbers where {expected} finite ones were expected", first.len());
            return Err(Error::new(ErrorKind::Protocol, detail));
        }
        self.learned.store(expected, Ordering::Relaxed);
        Ok(())
    }
}

/// Providers refuse the empty text, but passages and questions may be blank.
pub(crate) fn not_empty(text: &str) -> &str {
    if text.is_empty() { " " } else { text }
}

/// Embeds in several calls where needed; the result has the order of `texts`.
pub(crate) async fn embed_in_batches<'a, F>(
    texts: &'a [String],
    texts_per_call: usize,
    dimensions: &Dimensions,
    embed: impl Fn(&'a [String]) -> F + Send,
) -> Result<Vec<Vec<f32>>, Error>
where
    F: Future<Output = Result<Vec<Vec<f32>>, Error>> + Send,
{
    let calls: Vec<F> = batches(texts, texts_per_call).into_iter().map(|range| embed(&texts[range])).collect();
    let answers: Vec<Vec<Vec<f32>>> = futures_util::stream::iter(calls).buffered(CALLS_AT_A_TIME).try_collect().await?;
    let vectors = answers.concat();
    dimensions.check(&vectors)?;
    Ok(vectors)
}

fn batches(texts: &[String], texts_per_call: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (position, text) in texts.iter().enumerate() {
        let is_full = position - start == texts_per_call || bytes + text.len() > BYTES_PER_CALL;
        if is_full && position > start {
            ranges.push(start..position);
            (start, bytes) = (position, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        ranges.push(start..texts.len());
    }
    ranges
}

/// Puts items with positions into order and checks that each position came exactly once.
pub(crate) fn in_order<T>(items: impl Iterator<Item = (Option<usize>, T)>, count: usize) -> Result<Vec<T>, Error> {
    let mut places: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    let wrong =
        || Error::new(ErrorKind::Protocol, format!("the answer does not hold one item for each of {count} texts"));
    for (position, (index, item)) in items.enumerate() {
        let place = places.get_mut(index.unwrap_or(position)).ok_or_else(wrong)?;
        if place.replace(item).is_some() {
            return Err(wrong());
        }
    }
    places.into_iter().collect::<Option<Vec<T>>>().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{BYTES_PER_CALL, Dimensions, batches, in_order};

    #[test]
    fn batches_are_bounded_by_count_and_length() {
        let short = vec![String::from("a"); 5];
        assert_eq!(batches(&short, 2), [0..2, 2..4, 4..5]);
        let long = vec!["a".repeat(BYTES_PER_CALL - 1), "b".repeat(10), "c".repeat(2 * BYTES_PER_CALL), "d".to_owned()];
        assert_eq!(batches(&long, 10), [0..1, 1..2, 2..3, 3..4]);
        assert!(batches(&[], 2).is_empty());
    }

    #[test]
    fn order_comes_from_the_index() {
        assert_eq!(in_order([(Some(1), 'b'), (Some(0), 'a')].into_iter(), 2).unwrap(), ['a', 'b']);
        assert_eq!(in_order([(None, 'a'), (None, 'b')].into_iter(), 2).unwrap(), ['a', 'b']);
        assert!(in_order([(Some(0), 'a'), (Some(0), 'b')].into_iter(), 2).is_err());
        assert!(in_order([(Some(0), 'a')].into_iter(), 2).is_err());
        assert!(in_order([(Some(2), 'a')].into_iter(), 1).is_err());
    }

    #[test]
    fn lengths_are_learned_then_enforced() {
        let dimensions = Dimensions::new(None);
        assert_eq!(dimensions.get(), None);
        dimensions.check(&[vec![1.0, 2.0]]).unwrap();
        assert_eq!(dimensions.get(), Some(2));
        assert!(dimensions.check(&[vec![1.0]]).is_err());
        assert!(dimensions.check(&[vec![1.0, f32::NAN]]).is_err());
        assert!(Dimensions::new(Some(3)).check(&[vec![1.0, 2.0]]).is_err());
    }
}
