//! The sentences around a passage, with which a model reads it.

/// The sentences around a passage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// The ones just before it.
    pub before: String,
    /// The ones just after it.
    pub after: String,
}

impl Around {
    /// At most so many sentences of the passage before and of the one after; of a text that is none, nothing.
    pub(crate) fn new(before: &str, after: &str, sentences: usize) -> Self {
        Self { before: last_sentences(before, sentences), after: first_sentences(after, sentences) }
    }
}

/// Whether a sentence ends with this character, before what comes next.
fn ends_sentence(character: char, next: Option<char>) -> bool {
    match character {
        '。' | '！' | '？' | '；' | '\n' => true,
        // A point inside a number or an abbreviation is followed by something else than a blank.
        '.' | '!' | '?' => next.is_none_or(char::is_whitespace),
        _ => false,
    }
}

/// The first sentences of a text, one at least. What follows the last end is one too.
fn first_sentences(text: &str, count: usize) -> String {
    let ends = text.char_indices().filter(|&(position, character)| {
        let next = text[position + character.len_utf8()..].chars().next();
        ends_sentence(character, next)
    });
    let end = ends.map(|(position, character)| position + character.len_utf8()).nth(count.wrapping_sub(1));
    text[..end.unwrap_or(text.len())].trim().to_owned()
}

/// The last sentences of a text, one at least, read from its end.
fn last_sentences(text: &str, count: usize) -> String {
    let mut next = None;
    let mut left = count;
    for (position, character) in text.char_indices().rev() {
        let end = position + character.len_utf8();
        if end < text.len() && ends_sentence(character, next) {
            left = left.saturating_sub(1);
            if left == 0 {
                return text[end..].trim().to_owned();
            }
        }
        next = Some(character);
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_come_as_whole_sentences() {
        let text = "運費為 3.5 元。七日內可退貨！請保留發票。";
        assert_eq!(first_sentences(text, 1), "運費為 3.5 元。");
        assert_eq!(last_sentences(text, 2), "七日內可退貨！請保留發票。");
        assert_eq!(first_sentences(text, 9), text);
        assert_eq!(last_sentences(text, 9), text);
        assert_eq!(first_sentences("Version 2.1 is out. See notes.", 1), "Version 2.1 is out.");
        assert_eq!((first_sentences("", 2), last_sentences("", 2)), (String::new(), String::new()));
    }
}
