//! Keywords of the search for conversations: what a text is found by, and what matches.
//!
//! Texts and keywords are folded (case, accents, Traditional and Simplified characters). A keyword
//! is its runs of letters and digits; each has to occur in the conversation, and one of letters or
//! digits begins where a word or number begins: `refund` finds "Refunds", and `fund` does not.
//! Scripts that put no spaces between words match anywhere.

use parlance_domain::{Error, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::conversation_terms::Terms;

/// Characters of a keyword at most.
const MAX_KEYWORD: usize = 200;
/// Parts of a keyword that are looked for.
const MAX_PARTS: usize = 8;
/// Letters of a word that are looked up; the others are compared.
const PREFIX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Of a word with spaces around it.
    Letter,
    Digit,
    /// Of a script without spaces.
    Ideograph,
    Other,
}

fn class(character: char) -> Class {
    match character {
        '0'..='9' => Class::Digit,
        'a'..='z' | 'A'..='Z' => Class::Letter,
        // Thai to Khmer, Hangul, kana, Chinese characters.
        '\u{E00}'..='\u{EFF}'
        | '\u{F00}'..='\u{109F}'
        | '\u{1100}'..='\u{11FF}'
        | '\u{1780}'..='\u{17FF}'
        | '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{318F}'
        | '\u{31F0}'..='\u{31FF}'
        | '\u{3400}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}' => Class::Ideograph,
        _ if character.is_numeric() => Class::Digit,
        _ if character.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

/// Makes terms of pieces of folded text.
struct Maker {
    /// State of the hash after the organisation.
    seed: u64,
}

const FNV_PRIME: u64 = 0x100_0000_01b3;

impl Maker {
    fn new(tenant: Tenant) -> Self {
        let seed = tenant
            .organisation()
            .uuid()
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
        Self { seed }
    }

    /// The term of a piece. Stored, so it must never change.
    fn term(&self, piece: &[char]) -> i32 {
        let mut hash = self.seed;
        for character in piece {
            hash = (hash ^ u64::from(u32::from(*character))).wrapping_mul(FNV_PRIME);
        }
        // FNV leaves the upper bits of short texts alike.
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let [.., a, b, c, d] = (hash ^ (hash >> 33)).to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    }
}

/// Terms by which a text is found.
pub fn terms(tenant: Tenant, text: &str) -> Terms {
    let maker = Maker::new(tenant);
    let folded: Vec<char> = fold(text).chars().collect();
    let mut terms = Vec::with_capacity(folded.len() * 2);
    let mut before = Class::Other;
    for (place, character) in folded.iter().enumerate() {
        let kind = class(*character);
        match kind {
            Class::Other => {}
            Class::Ideograph => {
                terms.push(maker.term(&folded[place..=place]));
                if folded.get(place + 1).is_some_and(|next| class(*next) == Class::Ideograph) {
                    terms.push(maker.term(&folded[place..place + 2]));
                }
            }
            Class::Letter | Class::Digit if kind == before => {}
            Class::Letter | Class::Digit => {
                let rest = &folded[place..folded.len().min(place + PREFIX)];
                let length = rest.iter().take_while(|next| is_of_word(**next)).count();
                terms.extend((1..=length).map(|length| maker.term(&rest[..length])));
            }
        }
        before = kind;
    }
    terms.into_iter().collect()
}

fn is_of_word(character: char) -> bool {
    matches!(class(character), Class::Letter | Class::Digit)
}

/// A keyword, ready to be looked for.
#[derive(Clone, Debug)]
pub struct Keyword {
    parts: Vec<String>,
    terms: Vec<Terms>,
}

/// What a conversation has shown of a keyword so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u8);

impl Keyword {
    /// Reads what a person typed. `None` when it is blank.
    ///
    /// # Errors
    /// On `keyword` when it is too long.
    pub fn parse(tenant: Tenant, typed: &str) -> Result<Option<Self>> {
        if typed.trim().is_empty() {
            return Ok(None);
        }
        if typed.chars().count() > MAX_KEYWORD {
            let message = format!("Ensure this field has no more than {MAX_KEYWORD} characters.");
            return Err(Error::field("keyword", message));
        }
        let folded = fold(typed);
        let mut parts: Vec<String> = folded
            .split(|character| class(character) == Class::Other)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        parts.sort_unstable();
        parts.dedup();
        parts.truncate(MAX_PARTS);
        let maker = Maker::new(tenant);
        let terms = parts.iter().map(|part| of_part(&maker, part)).collect();
        Ok(Some(Self { parts, terms }))
    }

    /// Terms of each part. None at all when there is nothing to look for in what was typed.
    pub fn terms(&self) -> &[Terms] {
        &self.terms
    }

    /// Adds what a folded text shows.
    pub fn look_at(&self, seen: &mut Seen, folded: &str) {
        for (place, part) in self.parts.iter().enumerate() {
            let bit = 1 << place;
            if seen.0 & bit == 0 && occurs(part, folded) {
                seen.0 |= bit;
            }
        }
    }

    /// Whether everything was seen.
    pub fn is_found(&self, seen: Seen) -> bool {
        !self.parts.is_empty() && seen.0.count_ones() as usize == self.parts.len()
    }
}

/// The terms of one part: the longest piece of each word, the pairs of characters, or the one
/// character there is.
fn of_part(maker: &Maker, part: &str) -> Terms {
    let characters: Vec<char> = part.chars().collect();
    let mut terms = Vec::new();
    let mut place = 0;
    while place < characters.len() {
        let is_word = is_of_word(characters[place]);
        let length = characters[place..].iter().take_while(|next| is_of_word(**next) == is_word).count();
        let run = &characters[place..place + length];
        if is_word {
            terms.push(maker.term(&run[..length.min(PREFIX)]));
        } else if length == 1 {
            terms.push(maker.term(run));
        } else {
            terms.extend(run.windows(2).map(|pair| maker.term(pair)));
        }
        place += length;
    }
    terms.into_iter().collect()
}

/// Whether a part occurs in a folded text, where a word or number begins if it is one.
fn occurs(part: &str, folded: &str) -> bool {
    let first = part.chars().next().map_or(Class::Other, class);
    folded.match_indices(part).any(|(place, _)| {
        let before = folded[..place].chars().next_back().map_or(Class::Other, class);
        matches!(first, Class::Ideograph | Class::Other) || before != first
    })
}

#[cfg(test)]
mod tests {
    use parlance_domain::kind::OrganisationId;

    use super::*;

    fn tenant() -> Tenant {
        Tenant::authenticated(OrganisationId::parse("019a0000-0000-7000-8000-000000000001").unwrap())
    }

    /// Whether `typed` finds `text`, which the index has to agree with.
    fn finds(typed: &str, text: &str) -> bool {
        let keyword = Keyword::parse(tenant(), typed).unwrap().unwrap();
        let mut seen = Seen::default();
        keyword.look_at(&mut seen, &fold(text));
        let found = keyword.is_found(seen);
        let known: Vec<i32> = numbers(&terms(tenant(), text));
        let indexed = !keyword.terms().is_empty()
            && keyword.terms().iter().flat_map(numbers).all(|term| known.binary_search(&term).is_ok());
        assert!(indexed || !found, "{typed} is in {text}, but the index does not know it");
        found
    }

    fn numbers(terms: &Terms) -> Vec<i32> {
        terms.iter().collect()
    }

    #[test]
    fn case_and_script_make_no_difference() {
        assert!(finds("退貨", "我要退货"));
        assert!(finds("退货流程", "請問退貨流程是什麼"));
        assert!(finds("REFUND", "Two refunds, please"));
        assert!(finds("café", "Cafe"));
        assert!(finds("ｐｐｒ", "PPR-9087"));
        assert!(!finds("退款", "我要退貨"));
    }

    #[test]
    fn words_are_found_by_their_beginning_and_characters_anywhere() {
        for typed in ["r", "ref", "refundab", "refundable", "refundables"] {
            assert_eq!(finds(typed, "It is refundable."), typed != "refundables", "{typed}");
        }
        assert!(!finds("fund", "refund"));
        assert!(finds("1234", "order ORD1234"));
        assert!(finds("ord1234", "order ORD1234"));
        assert!(!finds("234", "ORD1234"));
        assert!(finds("abc退", "型號abc退貨"));
        assert!(finds("號abc", "型號ABCD"));
        assert!(finds("貨", "我要退貨"));
        assert!(finds("한국", "저는한국사람"));
        assert!(finds("привет", "Скажи: Привет!"));
    }

    #[test]
    fn every_part_has_to_occur() {
        assert!(finds("退貨 王小明", "王小明要退貨"));
        assert!(!finds("退貨 李小明", "王小明要退貨"));
        assert!(finds("wang@example.com", "Mail: Wang@Example.com"));
        assert!(!finds("!!!", "!!!"), "signs are not looked for");
        assert!(Keyword::parse(tenant(), "  ").unwrap().is_none());
        assert!(Keyword::parse(tenant(), &"x".repeat(201)).is_err());
    }

    #[test]
    fn organisations_share_no_terms() {
        let other = Tenant::authenticated(OrganisationId::parse("019a0000-0000-7000-8000-000000000002").unwrap());
        let (one, two) = (numbers(&terms(tenant(), "退貨 refund")), numbers(&terms(other, "退貨 refund")));
        assert!(one.iter().all(|term| !two.contains(term)));
        assert_eq!(one.len(), 3 + 6);
    }

    #[test]
    fn terms_stay_what_they_are_because_they_are_stored() {
        assert_eq!(numbers(&terms(tenant(), "ok")), STORED);
    }

    const STORED: [i32; 2] = [-1_738_861_379, -1_184_724_447];
}
