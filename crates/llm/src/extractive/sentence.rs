//! Cuts sources into sentences and rows.

/// A sentence or a row of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sentence<'a> {
    pub(super) text: &'a str,
    /// The heading above it in the same source; empty where there is none.
    pub(super) heading: &'a str,
    /// It is a heading itself: context for others, not an answer.
    pub(super) is_heading: bool,
}

/// The longest line without an end mark that counts as a heading, in characters.
const LONGEST_HEADING: usize = 20;

/// Sentences of a text in order.
pub(super) fn sentences(text: &str) -> Vec<Sentence<'_>> {
    let mut found = Vec::new();
    let mut heading = "";
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_table_rule(line)).collect();
    for (position, line) in lines.iter().enumerate() {
        if is_row(line) {
            found.push(Sentence { text: line, heading, is_heading: false });
            continue;
        }
        let has_more = position + 1 < lines.len();
        if let Some(title) = heading_text(line, has_more) {
            heading = title;
            found.push(Sentence { text: title, heading: "", is_heading: true });
            continue;
        }
        let mut rest = *line;
        while !rest.is_empty() {
            let (sentence, after) = rest.split_at(sentence_end(rest));
            if sentence.chars().any(char::is_alphanumeric) {
                found.push(Sentence { text: sentence.trim(), heading, is_heading: false });
            }
            rest = after;
        }
    }
    found
}

fn is_row(line: &str) -> bool {
    line.contains('\t') || line.starts_with('|') || line.contains(" | ")
}

fn is_table_rule(line: &str) -> bool {
    line.starts_with('|') && line.chars().all(|character| matches!(character, '|' | '-' | ':' | ' '))
}

fn heading_text(line: &str, has_more: bool) -> Option<&str> {
    let title = line.trim_start_matches('#');
    if title.len() < line.len() && title.starts_with(' ') {
        return Some(title.trim());
    }
    let ends_like_title = line.chars().next_back().is_some_and(char::is_alphanumeric);
    let is_list_item =
        line.starts_with(['-', '*', '•', '・']) || line.starts_with(|first: char| first.is_ascii_digit());
    let is_short = line.chars().count() <= LONGEST_HEADING;
    let is_plain = !line.contains(['，', '：', ',', ':', '=', '、', '。', '.']);
    (has_more && ends_like_title && is_short && is_plain && !is_list_item).then_some(line)
}

/// Length of the first sentence in bytes, closing quotes and brackets included.
fn sentence_end(line: &str) -> usize {
    let mut characters = line.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let ends = match character {
            '。' | '！' | '？' | '；' | '!' | '?' => true,
            // "3.5", "U.S. for" and "e.g. this" go on.
            '.' => next.is_none_or(char::is_whitespace) && !is_abbreviation(&line[..position], &line[position + 1..]),
            _ => false,
        };
        if !ends {
            continue;
        }
        let mut end = position + character.len_utf8();
        for closing in line[end..].chars() {
            if !matches!(closing, '。' | '！' | '？' | '!' | '?' | '」' | '』' | '”' | '"' | ')' | '）' | '\'' | '’')
            {
                break;
            }
            end += closing.len_utf8();
        }
        return end;
    }
    line.len()
}

/// A full stop after a single letter, or before a word in lower case, ends no sentence.
fn is_abbreviation(before: &str, after: &str) -> bool {
    let last_word = before.rsplit(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
    let is_single_letter = last_word.chars().count() == 1 && last_word.chars().all(char::is_alphabetic);
    let goes_on = after.trim_start().chars().next().is_some_and(char::is_lowercase);
    goes_on || (is_single_letter && !after.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::sentences;

    fn texts(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        assert_eq!(texts("一。二！「三？」四"), ["一。", "二！", "「三？」", "四"]);
        assert_eq!(
            texts("It costs 3.5 USD. Ask J. Doe. See e.g. this."),
            ["It costs 3.5 USD.", "Ask J. Doe.", "See e.g. this."]
        );
        assert_eq!(texts("| a | b |\n|---|---|\n| 1 | 2 |"), ["| a | b |", "| 1 | 2 |"]);
    }

    #[test]
    fn headings_are_context() {
        let found = sentences("# Returns\nWithin 30 days.\n\nOpening hours\nNine to five, all days.");
        let seen: Vec<_> =
            found.iter().map(|sentence| (sentence.text, sentence.heading, sentence.is_heading)).collect();
        assert_eq!(
            seen,
            [
                ("Returns", "", true),
                ("Within 30 days.", "Returns", false),
                ("Opening hours", "", true),
                ("Nine to five, all days.", "Opening hours", false),
            ]
        );
    }
}
