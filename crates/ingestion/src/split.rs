//! Where a text that is too long for one passage is cut.

use std::ops::Range;

/// How good a place for a cut is; better ones are larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Anywhere,
    Space,
    Comma,
    Sentence,
}

/// Cuts `characters` into ranges of at most `limit` characters: at sentence ends if there is one in reach, else at
/// commas, else at spaces, else at the limit. White space around the cuts belongs to no range; no range is empty.
pub(crate) fn split(characters: &[char], limit: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = skip_space(characters, 0);
    while start < characters.len() {
        let end = if characters.len() - start <= limit {
            characters.len()
        } else {
            start + best_cut(characters.get(start..).unwrap_or_default(), limit)
        };
        let trimmed = trim_end(characters, start, end);
        if trimmed > start {
            ranges.push(start..trimmed);
        }
        start = skip_space(characters, end);
    }
    ranges
}

fn skip_space(characters: &[char], mut position: usize) -> usize {
    while characters.get(position).is_some_and(|character| character.is_whitespace()) {
        position += 1;
    }
    position
}

fn trim_end(characters: &[char], start: usize, mut end: usize) -> usize {
    while end > start && characters.get(end - 1).is_some_and(|character| character.is_whitespace()) {
        end -= 1;
    }
    end
}

/// The length of the first piece; `characters` is longer than `limit`.
fn best_cut(characters: &[char], limit: usize) -> usize {
    let mut best = (Cut::Anywhere, limit);
    // A cut in the first quarter would make crumbs; a worse kind of cut further on is preferred to it.
    for position in (limit / 4).max(1)..=limit {
        let kind = cut_before(characters, position);
        if kind > Cut::Anywhere && kind >= best.0 {
            best = (kind, position);
        }
    }
    if best.0 == Cut::Anywhere {
        let mut position = limit;
        while position > limit / 2 && glued(characters, position) {
            position -= 1;
        }
        if position > limit / 2 {
            best.1 = position;
        }
    }
    best.1
}

/// Whether a cut before `position` would go through a number or between a letter and its mark.
fn glued(characters: &[char], position: usize) -> bool {
    let (Some(before), Some(after)) = (characters.get(position - 1), characters.get(position)) else { return false };
    let number = |character: &char| character.is_ascii_digit() || matches!(character, '.' | ',');
    (number(before) && number(after))
        || matches!(after, '\u{0300}'..='\u{036F}' | '\u{FE00}'..='\u{FE0F}' | '\u{200D}')
        || *before == '\u{200D}'
        || (before.is_ascii_alphanumeric() && after.is_ascii_alphanumeric())
}

fn cut_before(characters: &[char], position: usize) -> Cut {
    let (Some(before), Some(after)) = (characters.get(position - 1), characters.get(position)) else {
        return Cut::Anywhere;
    };
    // Closing marks stay with their sentence.
    if closes(*after) || ends_sentence(*after) {
        return Cut::Anywhere;
    }
    if *before == '\n' {
        return Cut::Sentence;
    }
    let mut last = position - 1;
    while last > 0 && characters.get(last).is_some_and(|character| closes(*character)) {
        last -= 1;
    }
    let Some(mark) = characters.get(last) else { return Cut::Anywhere };
    let previous = last.checked_sub(1).and_then(|index| characters.get(index));
    match mark {
        '。' | '！' | '？' | '；' | '…' | '．' | '｡' => Cut::Sentence,
        '!' | '?' if !after.is_ascii_alphanumeric() => Cut::Sentence,
        '.' | ';' if after.is_whitespace() && !(*mark == '.' && abbreviation(characters, last)) => Cut::Sentence,
        '，' | '、' | '：' | '﹐' => Cut::Comma,
        ',' | ':' if !(previous.is_some_and(char::is_ascii_digit) && after.is_ascii_digit()) => Cut::Comma,
        _ if before.is_whitespace() => {
            // The mark may stand before the space: "end. Next" is cut after the space as well as before it.
            let inner = trim_end(characters, 0, position);
            if inner > 0 && inner < position && cut_before(characters, inner) == Cut::Sentence {
                Cut::Sentence
            } else {
                Cut::Space
            }
        }
        _ => Cut::Anywhere,
    }
}

/// A single capital letter before the dot is an initial, not the end of a sentence.
fn abbreviation(characters: &[char], dot: usize) -> bool {
    let Some(letter) = dot.checked_sub(1).and_then(|index| characters.get(index)) else { return false };
    let alone = dot < 2 || characters.get(dot - 2).is_some_and(|character| !character.is_alphanumeric());
    letter.is_ascii_uppercase() && alone
}

fn closes(character: char) -> bool {
    matches!(character, '」' | '』' | '）' | '】' | '》' | '〉' | '”' | '’' | ')' | ']' | '"' | '\'' | '〕')
}

fn ends_sentence(character: char) -> bool {
    matches!(character, '。' | '！' | '？' | '；' | '，' | '、' | '：' | '…' | '!' | '?' | '.' | ',' | ';' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, limit: usize) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        split(&characters, limit).into_iter().map(|range| characters[range].iter().collect()).collect()
    }

    #[test]
    fn cuts_at_sentence_ends() {
        assert_eq!(pieces("第一句話。第二句話！第三句話？", 10), ["第一句話。第二句話！", "第三句話？"]);
        assert_eq!(pieces("He paid 3.50 today. She paid 4.25.", 22), ["He paid 3.50 today.", "She paid 4.25."]);
        assert_eq!(pieces("他說：「好。」然後離開了這裡", 9), ["他說：「好。」", "然後離開了這裡"]);
    }

    #[test]
    fn falls_back_to_commas_then_spaces_then_the_limit() {
        assert_eq!(pieces("甲乙丙丁，戊己庚辛，壬癸子丑", 11), ["甲乙丙丁，戊己庚辛，", "壬癸子丑"]);
        assert_eq!(pieces("alpha beta gamma delta", 12), ["alpha beta", "gamma delta"]);
        assert_eq!(pieces("甲乙丙丁戊己庚辛", 3), ["甲乙丙", "丁戊己", "庚辛"]);
    }

    #[test]
    fn numbers_stay_whole() {
        assert_eq!(pieces("總價一百二十三元1234567", 12), ["總價一百二十三元", "1234567"]);
        assert_eq!(pieces("價格是 1,234.56", 10), ["價格是", "1,234.56"]);
    }

    #[test]
    fn every_character_is_in_one_piece_or_is_space() {
        let text = "abc。 def, ghi\n\njkl".repeat(40);
        for limit in 1..60 {
            let joined: String = pieces(&text, limit).concat();
            let expected: String = text.chars().filter(|character| !character.is_whitespace()).collect();
            let joined: String = joined.chars().filter(|character| !character.is_whitespace()).collect();
            assert_eq!(joined, expected, "limit {limit}");
            assert!(pieces(&text, limit).iter().all(|piece| piece.chars().count() <= limit));
        }
    }
}
