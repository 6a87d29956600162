//! Folding: the form of a text in which different spellings of the same thing are equal.
//!
//! Compatibility normalisation (NFKC), lower case, no accents, Traditional characters as Simplified
//! ones, one character at a time. Phrase conversion is left out on purpose: it replaces words
//! (資訊 by 信息) and cannot be done to half a word. Only index terms and questions are folded,
//! never the stored text.

use std::sync::LazyLock;

use ferrous_opencc::OpenCC;
use ferrous_opencc::config::BuiltinConfig;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_canonical;

const FIRST_HAN: u32 = 0x3400;
const LAST_HAN: u32 = 0x9FFF;

/// Pairs that the conversion table leaves apart because Simplified text keeps both characters, but
/// which people mix in questions: (variant, form used in the index).
const MORE_VARIANTS: [(char, char); 14] = [
    ('著', '着'),
    ('乾', '干'),
    ('妳', '你'),
    ('祢', '你'),
    ('牠', '它'),
    ('祂', '它'),
    ('佈', '布'),
    ('裏', '里'),
    ('擡', '抬'),
    ('瞭', '了'),
    ('餘', '余'),
    ('麽', '么'),
    ('藉', '借'),
    ('徵', '征'),
];

/// Simplified form by code point, from [`FIRST_HAN`] on. Every entry is in the Basic Multilingual Plane.
static SIMPLIFIED: LazyLock<Vec<u16>> = LazyLock::new(simplified_table);

fn simplified_table() -> Vec<u16> {
    let mut table: Vec<u16> = (FIRST_HAN..=LAST_HAN).filter_map(|code| u16::try_from(code).ok()).collect();
    let converter = match OpenCC::from_config(BuiltinConfig::T2s) {
        Ok(converter) => converter,
        Err(error) => {
            // The table is compiled into the program, so this is a broken build; search still
            // works within one script.
            tracing::error!(%error, "no conversion table from Traditional to Simplified characters");
            return table;
        }
    };
    // One call for all characters; the line breaks keep phrases from being converted.
    let mut characters = String::with_capacity(table.len() * 4);
    for character in (FIRST_HAN..=LAST_HAN).filter_map(char::from_u32) {
        characters.push(character);
        characters.push('\n');
    }
    for (entry, line) in table.iter_mut().zip(converter.convert(&characters).lines()) {
        let mut result = line.chars();
        if let (Some(simplified), None) = (result.next(), result.next())
            && let Ok(code) = u16::try_from(u32::from(simplified))
        {
            *entry = code;
        }
    }
    // A few forms are themselves written more simply: followed to the end, folding twice is folding
    // once. Chains are short; the bound is for a table that would lead in a circle.
    for position in 0..table.len() {
        for _ in 0..4 {
            let form = usize::from(table[position]).wrapping_sub(FIRST_HAN as usize);
            let Some(simpler) = table.get(form).copied().filter(|simpler| *simpler != table[position]) else { break };
            table[position] = simpler;
        }
    }
    for (variant, form) in MORE_VARIANTS {
        let target = simplified_in(&table, form);
        if let Some(entry) = table.get_mut((u32::from(variant) - FIRST_HAN) as usize) {
            *entry = u16::try_from(u32::from(target)).unwrap_or(*entry);
        }
    }
    table
}

fn simplified_in(table: &[u16], character: char) -> char {
    let offset = u32::from(character).wrapping_sub(FIRST_HAN) as usize;
    match table.get(offset) {
        Some(code) => char::from_u32(u32::from(*code)).unwrap_or(character),
        None => character,
    }
}

/// Folds one character that needs no compatibility normalisation: lower case without accents,
/// Simplified for Traditional. A character whose lower case is several characters keeps its first.
pub fn fold_char(character: char) -> char {
    match character {
        '\0'..='\x7F' => character.to_ascii_lowercase(),
        '\u{3400}'..='\u{9FFF}' => simplified_in(&SIMPLIFIED, character),
        '\u{3000}'..='\u{33FF}' | '\u{AC00}'..='\u{D7AF}' => character,
        _ => fold_other(character),
    }
}

fn fold_other(character: char) -> char {
    let lower = character.to_lowercase().next().unwrap_or(character);
    match lower {
        // Latin, Greek: accents are often left out by those who ask.
        '\u{C0}'..='\u{24F}' | '\u{370}'..='\u{3FF}' | '\u{1E00}'..='\u{1FFF}' => base_of(lower),
        'ё' => 'е',
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ى' => 'ي',
        'ة' => 'ه',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        other => other,
    }
}

fn base_of(character: char) -> char {
    let mut base = None;
    decompose_canonical(character, |part| {
        base.get_or_insert(part);
    });
    base.unwrap_or(character)
}

/// Whether the character is dropped: marks that only show how a letter is pronounced or how a line
/// may break.
fn is_dropped(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36F}'
        | '\u{591}'..='\u{5BD}' | '\u{5BF}' | '\u{5C1}' | '\u{5C2}' | '\u{5C4}' | '\u{5C5}' | '\u{5C7}'
        | '\u{640}' | '\u{64B}'..='\u{65F}' | '\u{670}'
        | '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// Whether NFKC leaves the character as it is, whatever its neighbours are.
fn is_already_normal(character: char) -> bool {
    matches!(character,
        '\0'..='\x7F'
        | '\u{2010}'..='\u{2016}' | '\u{2018}'..='\u{2022}' | '\u{2027}'
        | '\u{3001}'..='\u{3029}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FC}'
        | '\u{3400}'..='\u{9FFF}')
}

/// Folds `text` and appends it to `folded`.
pub(crate) fn fold_into(text: &str, folded: &mut String) {
    folded.reserve(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if is_already_normal(character) {
            folded.push(fold_char(character));
            rest = &rest[character.len_utf8()..];
            continue;
        }
        if let Some(ascii) = halfwidth_of(character) {
            folded.push(ascii);
            rest = &rest[character.len_utf8()..];
            continue;
        }
        let length = rest.find(is_already_normal).unwrap_or(rest.len());
        for normal in rest[..length].nfkc() {
            if !is_dropped(normal) {
                folded.push(fold_char(normal));
            }
        }
        rest = &rest[length..];
    }
}

/// The folded ASCII form of a full-width form, and a space for the ideographic one.
fn halfwidth_of(character: char) -> Option<char> {
    match character {
        '\u{3000}' => Some(' '),
        '\u{FF01}'..='\u{FF5E}' => {
            char::from_u32(u32::from(character) - 0xFEE0).map(|ascii| ascii.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// The folded form of `text`. Folding a folded text changes nothing that search can notice.
///
/// ```
/// assert_eq!(parlance_retrieval::fold("Ｐｒéｆｉｘ 臺灣軟體"), "prefix 台湾软体");
/// ```
pub fn fold(text: &str) -> String {
    let mut folded = String::new();
    fold_into(text, &mut folded);
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_forms_that_mean_the_same_become_equal() {
        for (one, other) in [
            ("臺灣", "台湾"),
            ("綁定後請點選開啟", "绑定后请点选开启"),
            ("請問保險費怎麼繳", "请问保险费怎么缴"),
            ("ＰＰＲ－９０８７", "ppr-9087"),
            ("Café", "cafe"),
            ("Cafe\u{301}", "cafe"),
            ("ﾃﾞｰﾀ", "データ"),
            ("ΆΛΦΑ", "αλφα"),
            ("①", "1"),
            ("為什麼", "爲什么"),
            ("穿著", "穿着"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
    }

    #[test]
    fn voiced_kana_and_hangul_syllables_stay_whole() {
        assert_eq!(fold("がか 한국"), "がか 한국");
    }

    #[test]
    fn most_traditional_characters_have_a_simplified_form() {
        let changed = (0x4E00..=0x9FFF).filter_map(char::from_u32).filter(|c| fold_char(*c) != *c).count();
        assert!(changed > 2500, "{changed}");
    }
}
