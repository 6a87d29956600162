//! What questions and sentences are compared by.

use rust_stemmers::{Algorithm, Stemmer};

/// A feature of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Term {
    /// A character of a script without spaces.
    Character(char),
    /// Two neighbouring ones.
    Pair(char, char),
    /// A word's stem, or a code with its hyphens.
    Word(String),
}

impl Term {
    /// How much of its rarity a term counts: single characters say little.
    pub(super) const fn strength(&self) -> f64 {
        match self {
            Self::Character(_) => 0.4,
            Self::Pair(..) => 1.0,
            Self::Word(_) => 1.5,
        }
    }

    pub(super) const fn is_character(&self) -> bool {
        matches!(self, Self::Character(_))
    }
}

/// Words that questions are made of and that no answer is found by, as stems.
const QUESTION_WORDS: &str = " a an and are at be been by can could did do doe doing for from had has have how i if in is it \
its me mani much my of on or our pleas shall should tell that the their there these they this to us was we were what when \
where which who whom whose whi will with would you your about ani am as so not no long get ";

/// Phrases of the same kind in Chinese and Japanese, as they are after folding to either form;
/// longer ones first.
const QUESTION_PHRASES: [&str; 58] = [
    "請問一下",
    "请问一下",
    "為什麼",
    "为什么",
    "是什麼",
    "是什么",
    "什麼時候",
    "什么时候",
    "請問",
    "请问",
    "請告訴我",
    "请告诉我",
    "告訴我",
    "告诉我",
    "想知道",
    "有沒有",
    "有没有",
    "是不是",
    "可不可以",
    "能不能",
    "什麼",
    "什么",
    "怎麼樣",
    "怎么样",
    "怎麼",
    "怎么",
    "怎樣",
    "怎样",
    "如何",
    "多少",
    "多久",
    "哪裡",
    "哪里",
    "哪些",
    "哪個",
    "哪个",
    "何時",
    "何时",
    "可以",
    "你們",
    "你们",
    "我們",
    "我们",
    "ですか",
    "ますか",
    "でしょうか",
    "ください",
    "について",
    "教えて",
    "은",
    "는",
    "嗎",
    "吗",
    "呢",
    "幾",
    "几",
    "誰",
    "谁",
];

/// Terms of a sentence.
pub(super) fn terms(text: &str, fold: fn(char) -> char) -> Vec<Term> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut terms = Vec::new();
    let mut previous = None;
    let mut word = String::new();
    for character in text.chars().map(half_width) {
        if has_no_spaces(character) {
            end_word(&mut word, &stemmer, &mut terms);
            let character = fold(character);
            terms.push(Term::Character(character));
            if let Some(previous) = previous.replace(character) {
                terms.push(Term::Pair(previous, character));
            }
            continue;
        }
        previous = None;
        if character.is_alphanumeric() || (is_joiner(character) && !word.is_empty()) {
            word.extend(character.to_lowercase());
        } else {
            end_word(&mut word, &stemmer, &mut terms);
        }
    }
    end_word(&mut word, &stemmer, &mut terms);
    terms
}

/// Terms of a question: those of its text without the words that only make it a question.
pub(super) fn question_terms(question: &str, fold: fn(char) -> char) -> Vec<Term> {
    let mut text = question.to_owned();
    for phrase in QUESTION_PHRASES {
        if text.contains(phrase) {
            text = text.replace(phrase, " ");
        }
    }
    let mut found = Vec::new();
    for term in terms(&text, fold) {
        let is_filler = match &term {
            Term::Word(word) => QUESTION_WORDS.contains(&format!(" {word} ")),
            Term::Character(character) => "的是了在有和與与我你它他她要か は が を に の で と も".contains(*character),
            Term::Pair(..) => false,
        };
        if !is_filler && !found.contains(&term) {
            found.push(term);
        }
    }
    found
}

/// Whether an answer to the question is likely to hold a number.
pub(super) fn asks_for_number(question: &str) -> bool {
    let question = question.to_lowercase();
    [
        "幾",
        "几",
        "多少",
        "多久",
        "何時",
        "何时",
        "時間",
        "时间",
        "期限",
        "how many",
        "how much",
        "how long",
        "when ",
        "いつ",
        "いくら",
        "언제",
        "얼마",
    ]
    .iter()
    .any(|phrase| question.contains(phrase))
}

/// Whether a sentence holds a number.
pub(super) fn has_number(text: &str) -> bool {
    text.chars().any(|character| character.is_ascii_digit() || "一二三四五六七八九十百千萬万兩两".contains(character))
}

fn end_word(word: &mut String, stemmer: &Stemmer, terms: &mut Vec<Term>) {
    let whole = word.trim_end_matches(is_joiner);
    if !whole.is_empty() {
        if whole.contains(is_joiner) {
            let parts = whole.split(is_joiner).filter(|part| !part.is_empty());
            terms.extend(parts.map(|part| Term::Word(stemmer.stem(part).into_owned())));
            terms.push(Term::Word(whole.to_owned()));
        } else {
            terms.push(Term::Word(stemmer.stem(whole).into_owned()));
        }
    }
    word.clear();
}

/// Characters that hold a code or a number together.
fn is_joiner(character: char) -> bool {
    matches!(character, '-' | '_' | '.' | '/' | ':' | '\'' | '’')
}

/// Full-width Latin letters, digits and signs as their usual forms.
fn half_width(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        '\u{3000}' => ' ',
        other => other,
    }
}

/// Han, kana, Hangul and the scripts of South-East Asia. Korean has spaces, but its endings make
/// pairs of syllables the better terms.
fn has_no_spaces(character: char) -> bool {
    character.is_alphabetic()
        && matches!(character, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}'
            | '\u{1780}'..='\u{17ff}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}')
}
