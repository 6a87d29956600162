//! Text analysis: from a text to index terms, the same way for passages and questions.
//!
//! - Chinese, Japanese, Korean: every character and every pair of neighbours. No dictionary, so
//!   new words, names and typing errors do no harm.
//! - Scripts with spaces: whole words, and their stem where it differs.
//! - Codes, numbers, addresses (`PPR-9087`, `v1.2.3`, `a@b.example`): the whole and its parts.
//! - Thai, Lao, Khmer, Burmese, Arabic, Hebrew, Indic scripts: character sequences.
//!
//! To add a script: give it a [`Class`] in [`class_of`], and a rule to the `match` of
//! [`Analysis::analyse`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use rust_stemmers::{Algorithm, Stemmer};

use crate::fold::fold_into;

/// Longest term in bytes of folded text; what is longer is indexed by its parts only.
const LONGEST_TERM: usize = 64;
/// Longest run of n-gram script or letters that is indexed as a word.
const LONGEST_WORD: usize = 48;
/// Words outside ASCII are also indexed by this many leading letters, a stemmer for any language.
const PREFIX_LETTERS: usize = 5;

/// Stems that a thread remembers at most.
const MOST_STEMS: usize = 2_048;

/// What a term is, from which its weight follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermKind {
    /// One Chinese, Japanese or Korean character.
    Character,
    /// Two neighbouring characters of these.
    Pair,
    /// A whole word.
    Word,
    /// A word's stem, where it is not the word itself.
    Stem,
    /// A whole part number, version, number with separators, address.
    Code,
    /// A part of a code.
    Part,
    /// A sequence of two or three characters of a script that is indexed by sequences.
    Gram,
}

impl TermKind {
    /// How much a match of such a term counts in a question, relative to a word.
    pub fn weight(self) -> f32 {
        match self {
            Self::Pair | Self::Word => 1.0,
            Self::Character | Self::Stem | Self::Part => 0.6,
            Self::Code => 1.5,
            Self::Gram => 0.5,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Separator,
    /// Characters indexed singly and in pairs.
    Character,
    /// Letters and digits of scripts with spaces.
    Letter,
    /// Scripts with spaces indexed by sequences and whole words.
    SpacedGram,
    /// Scripts without spaces indexed by sequences.
    UnspacedGram,
}

fn class_of(character: char) -> Class {
    match character {
        'a'..='z' | '0'..='9' | 'A'..='Z' => Class::Letter,
        '\0'..='\x7F' | '\u{964}' | '\u{965}' => Class::Separator,
        '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{3096}'
        | '\u{309D}'..='\u{309F}'
        | '\u{30A1}'..='\u{30FA}'
        | '\u{30FC}'..='\u{30FF}'
        | '\u{3105}'..='\u{312F}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}' => Class::Character,
        '\u{590}'..='\u{5FF}' | '\u{620}'..='\u{65F}' | '\u{66E}'..='\u{6D3}' | '\u{6FA}'..='\u{8FF}' => {
            Class::SpacedGram
        }
        '\u{900}'..='\u{DFF}' | '\u{1200}'..='\u{137F}' => Class::SpacedGram,
        '\u{E01}'..='\u{E3A}'
        | '\u{E40}'..='\u{E59}'
        | '\u{E80}'..='\u{EFF}'
        | '\u{F00}'..='\u{FFF}'
        | '\u{1000}'..='\u{109F}'
        | '\u{1780}'..='\u{17E9}' => Class::UnspacedGram,
        other if other.is_alphanumeric() => Class::Letter,
        _ => Class::Separator,
    }
}

/// Whether the byte may stand inside a code between two letters or digits.
fn is_connector(byte: u8) -> bool {
    matches!(
        byte,
        b'-' | b'_' | b'.' | b'/' | b'@' | b':' | b'+' | b'#' | b'&' | b'\'' | b',' | b'=' | b'?' | b'%' | b'~'
    )
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    kind: TermKind,
}

/// The terms of one text. Its buffers are reused from text to text: no allocation per term.
#[derive(Clone, Default)]
pub struct Analysis {
    /// The folded text, followed by terms that are not substrings of it.
    buffer: String,
    spans: Vec<Span>,
    scratch: Vec<Range<usize>>,
}

impl Analysis {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Analyses `text` in place of what was analysed before. At most 4 GiB of folded text are
    /// looked at.
    pub fn analyse(&mut self, text: &str) {
        self.buffer.clear();
        self.spans.clear();
        fold_into(text, &mut self.buffer);
        join_broken_lines(&mut self.buffer);
        let text_end = self.buffer.len().min(u32::MAX as usize / 2);
        let mut position = 0;
        while let Some(character) = self.character_at(position, text_end) {
            position = match class_of(character) {
                Class::Separator => position + character.len_utf8(),
                Class::Character => self.characters(position, text_end),
                Class::Letter => self.letters(position, text_end),
                class @ (Class::SpacedGram | Class::UnspacedGram) => self.grams(position, text_end, class),
            };
        }
    }

    /// The terms with their kinds, in the order of the text.
    pub fn terms(&self) -> impl ExactSizeIterator<Item = (&str, TermKind)> {
        self.spans.iter().map(|span| (&self.buffer[span.start as usize..span.end as usize], span.kind))
    }

    /// The term at `index`, counted as in [`Analysis::terms`].
    pub(crate) fn term(&self, index: usize) -> Option<&str> {
        self.spans.get(index).map(|span| &self.buffer[span.start as usize..span.end as usize])
    }

    fn character_at(&self, position: usize, text_end: usize) -> Option<char> {
        if position >= text_end { None } else { self.buffer[position..].chars().next() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "analyse stops long before 4 GiB")]
    fn push(&mut self, range: Range<usize>, kind: TermKind) {
        self.spans.push(Span { start: range.start as u32, end: range.end as u32, kind });
    }

    /// Adds a term that is not a substring of the folded text.
    fn push_made(&mut self, term: &str, kind: TermKind) {
        let start = self.buffer.len();
        self.buffer.push_str(term);
        self.push(start..self.buffer.len(), kind);
    }

    /// Singles and pairs of a run of characters; returns where the run ends.
    fn characters(&mut self, start: usize, text_end: usize) -> usize {
        let mut previous: Option<usize> = None;
        let mut position = start;
        while let Some(character) = self.character_at(position, text_end) {
            if class_of(character) != Class::Character {
                break;
            }
            let next = position + character.len_utf8();
            self.push(position..next, TermKind::Character);
            if let Some(before) = previous {
                self.push(before..next, TermKind::Pair);
            }
            previous = Some(position);
            position = next;
        }
        position
    }

    /// A word or a code; returns where it ends.
    fn letters(&mut self, start: usize, text_end: usize) -> usize {
        let mut parts = std::mem::take(&mut self.scratch);
        parts.clear();
        let mut end = self.end_of_letters(start, text_end);
        parts.push(start..end);
        while let Some(next) = self.after_connectors(end, text_end) {
            end = self.end_of_letters(next, text_end);
            parts.push(next..end);
        }
        if let [word] = parts.as_slice() {
            self.word(word.clone(), TermKind::Word);
            self.letters_and_digits(word.clone());
        } else {
            self.code(start..end, &parts);
        }
        self.scratch = parts;
        end
    }

    fn end_of_letters(&self, start: usize, text_end: usize) -> usize {
        let text = &self.buffer[start..text_end];
        let length = text.find(|character| class_of(character) != Class::Letter).unwrap_or(text.len());
        start + length
    }

    /// Where the code goes on after at most three connectors at `position`.
    fn after_connectors(&self, position: usize, text_end: usize) -> Option<usize> {
        let bytes = self.buffer.as_bytes().get(position..text_end)?;
        let connectors = bytes.iter().take(4).take_while(|byte| is_connector(**byte)).count();
        let comma_outside_number = bytes.first() == Some(&b',')
            && !(bytes.get(1).is_some_and(u8::is_ascii_digit)
                && position.checked_sub(1).is_some_and(|last| self.buffer.as_bytes()[last].is_ascii_digit()));
        if connectors == 0 || connectors > 3 || comma_outside_number {
            return None;
        }
        let next = position + connectors;
        (class_of(self.character_at(next, text_end)?) == Class::Letter).then_some(next)
    }

    fn word(&mut self, range: Range<usize>, kind: TermKind) {
        if range.len() > LONGEST_TERM {
            return;
        }
        self.push(range.clone(), kind);
        let word = &self.buffer[range.clone()];
        let bytes = word.as_bytes();
        if bytes.iter().all(u8::is_ascii_lowercase) {
            if bytes.len() > 2 && bytes.len() <= LONGEST_WORD {
                STEMS.with_borrow_mut(|stems| {
                    let word = &self.buffer[range];
                    let stem = stems.of(word);
                    if stem != word {
                        self.push_made(stem, TermKind::Stem);
                    }
                });
            }
        } else if !word.is_ascii()
            && let Some((cut, _)) = word.char_indices().nth(PREFIX_LETTERS)
        {
            let mut prefix = word[..cut].to_owned();
            // Kept apart from whole words, which it is not.
            prefix.push('*');
            self.push_made(&prefix, TermKind::Stem);
        }
    }

    /// `ppr9087` is also found by `ppr` and by `9087`.
    fn letters_and_digits(&mut self, range: Range<usize>) {
        let bytes = self.buffer.as_bytes();
        let has_both = range.len() <= LONGEST_TERM
            && bytes[range.clone()].iter().any(u8::is_ascii_digit)
            && bytes[range.clone()].iter().any(u8::is_ascii_lowercase)
            && bytes[range.clone()].is_ascii();
        if !has_both {
            return;
        }
        let mut start = range.start;
        for position in range.start + 1..=range.end {
            let bytes = self.buffer.as_bytes();
            let boundary =
                position == range.end || bytes[position].is_ascii_digit() != bytes[position - 1].is_ascii_digit();
            if boundary {
                self.push(start..position, TermKind::Part);
                start = position;
            }
        }
    }

    fn code(&mut self, whole: Range<usize>, parts: &[Range<usize>]) {
        let separators = self.buffer.as_bytes();
        let only_apostrophes = parts.windows(2).all(|pair| separators[pair[0].end] == b'\'');
        if only_apostrophes {
            // dog's, don't: the word before the apostrophe carries the meaning.
            for part in parts.iter().filter(|part| part.len() > 2) {
                self.word(part.clone(), TermKind::Word);
            }
            return;
        }
        if whole.len() <= LONGEST_TERM {
            self.push(whole.clone(), TermKind::Code);
            let has_digit = self.buffer.as_bytes()[whole].iter().any(u8::is_ascii_digit);
            if has_digit && parts.len() <= 4 {
                // PPR-9087 is also found as PPR9087, 1,000 as 1000.
                let joined: String = parts.iter().map(|part| &self.buffer[part.clone()]).collect();
                self.push_made(&joined, TermKind::Code);
            }
        }
        for part in parts {
            let letters_only = self.buffer.as_bytes()[part.clone()].iter().all(u8::is_ascii_lowercase);
            self.word(part.clone(), if letters_only { TermKind::Word } else { TermKind::Part });
            self.letters_and_digits(part.clone());
        }
    }

    /// Character sequences of a run; returns where the run ends.
    fn grams(&mut self, start: usize, text_end: usize, class: Class) -> usize {
        let mut starts = [start; 3];
        let mut count = 0_usize;
        let mut position = start;
        while let Some(character) = self.character_at(position, text_end) {
            if class_of(character) != class {
                break;
            }
            starts = [starts[1], starts[2], position];
            position += character.len_utf8();
            count += 1;
            if count >= 2 && class == Class::UnspacedGram {
                self.push(starts[1]..position, TermKind::Gram);
            }
            if count >= 3 {
                self.push(starts[0]..position, TermKind::Gram);
            }
        }
        let is_word = class == Class::SpacedGram && count != 3 || count == 1;
        if is_word && position - start <= LONGEST_WORD {
            self.push(start..position, TermKind::Word);
        }
        position
    }
}

/// Stems of English words, of which texts repeat a few thousand: looking one up takes a fraction of making
/// it again.
struct Stems {
    stemmer: Stemmer,
    known: HashMap<Box<str>, Box<str>>,
}

impl Stems {
    fn of(&mut self, word: &str) -> &str {
        if !self.known.contains_key(word) {
            if self.known.len() >= MOST_STEMS {
                self.known.clear();
            }
            self.known.insert(word.into(), self.stemmer.stem(word).into());
        }
        self.known.get(word).map(AsRef::as_ref).unwrap_or_default()
    }
}

thread_local! {
    static STEMS: RefCell<Stems> =
        RefCell::new(Stems { stemmer: Stemmer::create(Algorithm::English), known: HashMap::new() });
}

/// Removes single line breaks (and blanks around them) between two characters of Chinese or
/// Japanese: documents laid out in lines break words there.
fn join_broken_lines(text: &mut String) {
    if !text.contains('\n') {
        return;
    }
    let mut joined = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\n') {
        let before = rest[..at].trim_end_matches([' ', '\r']);
        let after = rest[at + 1..].trim_start_matches(' ');
        let is_character = |neighbour: Option<char>| neighbour.is_some_and(|c| class_of(c) == Class::Character);
        if is_character(before.chars().next_back()) && is_character(after.chars().next()) {
            joined.push_str(before);
        } else {
            joined.push_str(&rest[..=at]);
        }
        rest = after;
    }
    joined.push_str(rest);
    *text = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        let mut analysis = Analysis::new();
        analysis.analyse(text);
        analysis.terms().map(|(term, _)| term.to_owned()).collect()
    }

    #[test]
    fn chinese_gives_characters_and_pairs_within_a_run() {
        assert_eq!(terms("退貨，客服"), ["退", "货", "退货", "客", "服", "客服"]);
        assert_eq!(terms("保\n險"), ["保", "险", "保险"]);
        assert_eq!(terms("姓名 電話").last().unwrap(), "电话");
        assert!(!terms("姓名 電話").contains(&"名电".to_owned()));
    }

    #[test]
    fn a_code_is_found_whole_joined_and_by_its_parts() {
        let found = terms("型號 PPR-9087 的");
        for expected in ["ppr-9087", "ppr9087", "ppr", "9087"] {
            assert!(found.contains(&expected.to_owned()), "{expected} in {found:?}");
        }
        let joined = terms("PPR9087");
        for expected in ["ppr9087", "ppr", "9087"] {
            assert!(joined.contains(&expected.to_owned()), "{expected} in {joined:?}");
        }
        assert!(terms("v1.2.3").contains(&"v1.2.3".to_owned()));
        assert!(terms("寫信給 help@shop.example。").contains(&"help@shop.example".to_owned()));
        assert!(terms("https://shop.example/a?b=1").contains(&"https://shop.example/a?b=1".to_owned()));
        assert!(terms("共3.5元").contains(&"3.5".to_owned()));
        assert!(terms("1,000 items, 2 boxes").contains(&"1000".to_owned()));
    }

    #[test]
    fn words_and_their_stems() {
        assert_eq!(terms("Returns"), ["returns", "return"]);
        assert_eq!(terms("The dog's"), ["the", "dog"]);
        assert_eq!(terms("end. Next"), ["end", "next"]);
        assert!(terms("Перевозчики").contains(&"перев*".to_owned()));
    }

    #[test]
    fn scripts_without_spaces_give_sequences() {
        let thai = terms("คืนสินค้า");
        assert!(thai.len() > 8 && thai.contains(&"คืน".to_owned()), "{thai:?}");
        let arabic = terms("مكتبة");
        assert!(arabic.contains(&"مكتبه".to_owned()) && arabic.contains(&"مكت".to_owned()), "{arabic:?}");
        assert!(!terms("हिन्दी").is_empty());
    }
}
