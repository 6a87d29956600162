//! Spans of a page to lines, lines to paragraphs and headings.

use super::interpreter::Span;
use crate::block::Block;

/// Text on one base line, with its cells set apart.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    start: f32,
    end: f32,
    base: f32,
    size: f32,
    turns: u8,
}

/// The blocks of a page, in reading order.
pub(super) fn blocks(spans: Vec<Span>) -> Vec<Block> {
    let spans = without_overprint(spans);
    let mut lines = lines(spans);
    if !runs_downwards(&lines) {
        sort_by_place(&mut lines);
    }
    let body = body_size(&lines);
    let mut blocks = Vec::new();
    let mut paragraph: Vec<Line> = Vec::new();
    let right = lines.iter().fold(f32::MIN, |right, line| right.max(line.end));
    for line in lines {
        if paragraph.last().is_some_and(|last| !continues(last, &line, right)) {
            blocks.extend(block(&std::mem::take(&mut paragraph), body));
        }
        paragraph.push(line);
    }
    blocks.extend(block(&paragraph, body));
    blocks
}

/// Drops text that is printed twice at nearly the same place to look bold.
fn without_overprint(spans: Vec<Span>) -> Vec<Span> {
    let mut kept: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        let same = |other: &Span| {
            other.text == span.text
                && other.turns == span.turns
                && (other.start - span.start).abs() < span.size * 0.15
                && (other.base - span.base).abs() < span.size * 0.15
        };
        if !kept.iter().rev().take(4).any(same) {
            kept.push(span);
        }
    }
    kept
}

/// Joins neighbours in drawing order that stand on one base line.
fn lines(spans: Vec<Span>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut current: Vec<Span> = Vec::new();
    for span in spans {
        let fits = current.last().is_none_or(|last| {
            let size = last.size.max(span.size);
            last.turns == span.turns && (last.base - span.base).abs() < size * 0.4
        });
        if !fits {
            lines.extend(line(std::mem::take(&mut current)));
        }
        current.push(span);
    }
    lines.extend(line(current));
    lines
}

fn line(mut spans: Vec<Span>) -> Option<Line> {
    spans.sort_by(|left, right| left.start.total_cmp(&right.start));
    let mut spans = spans.into_iter();
    let first = spans.next()?;
    let mut line = Line {
        text: first.text,
        start: first.start,
        end: first.end,
        base: first.base,
        size: first.size,
        turns: first.turns,
    };
    for span in spans {
        let size = line.size.max(span.size);
        line.text.push_str(separator(&line.text, &span.text, (span.start - line.end) / size));
        line.text.push_str(&span.text);
        line.end = line.end.max(span.end);
        line.size = size;
    }
    if line.text.trim().is_empty() { None } else { Some(line) }
}

/// What stands between two spans with a gap of `gap` font sizes.
fn separator(left: &str, right: &str, gap: f32) -> &'static str {
    let (Some(before), Some(after)) = (left.chars().next_back(), right.chars().next()) else { return "" };
    if before.is_whitespace() || after.is_whitespace() {
        return if gap > 1.0 { "\t" } else { "" };
    }
    let cell_gap = if wide(before) && wide(after) { 0.7 } else { 1.0 };
    if gap > cell_gap {
        return "\t";
    }
    let space_gap = match (wide(before), wide(after)) {
        (false, false) => 0.13,
        (true, true) => f32::MAX,
        _ => 0.5,
    };
    if gap > space_gap { " " } else { "" }
}

/// Characters of scripts that are written without spaces.
fn wide(character: char) -> bool {
    matches!(character,
        '\u{2E80}'..='\u{A4CF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}'
        | '\u{20000}'..='\u{3FFFF}')
        && !('\u{AC00}'..='\u{D7A3}').contains(&character)
}

/// Whether the drawing order goes down the page, up again only for a few columns.
fn runs_downwards(lines: &[Line]) -> bool {
    let pairs = lines.iter().zip(lines.iter().skip(1));
    let jumps =
        pairs.filter(|(upper, lower)| lower.turns != upper.turns || lower.base > upper.base + upper.size).count();
    jumps <= 3.max(lines.len() / 8)
}

/// Top to bottom, then along the line; what stands on one base line becomes one line.
fn sort_by_place(lines: &mut Vec<Line>) {
    lines.sort_by(|left, right| left.turns.cmp(&right.turns).then(right.base.total_cmp(&left.base)));
    let mut sorted: Vec<Line> = Vec::with_capacity(lines.len());
    let mut row: Vec<Line> = Vec::new();
    for line in lines.drain(..) {
        let fits = row.first().is_none_or(|first: &Line| {
            first.turns == line.turns && (first.base - line.base).abs() < first.size.max(line.size) * 0.4
        });
        if !fits {
            sorted.extend(joined(std::mem::take(&mut row)));
        }
        row.push(line);
    }
    sorted.extend(joined(row));
    *lines = sorted;
}

fn joined(mut row: Vec<Line>) -> Option<Line> {
    row.sort_by(|left, right| left.start.total_cmp(&right.start));
    row.into_iter().reduce(|mut left, right| {
        let size = left.size.max(right.size);
        left.text.push_str(separator(&left.text, &right.text, (right.start - left.end) / size));
        left.text.push_str(&right.text);
        (left.end, left.size) = (left.end.max(right.end), size);
        left
    })
}

/// The size most characters of the page have.
fn body_size(lines: &[Line]) -> f32 {
    let mut sizes: Vec<(f32, usize)> =
        lines.iter().map(|line| ((line.size * 2.0).round() / 2.0, line.text.chars().count())).collect();
    sizes.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut best = (0.0, 0);
    for group in sizes.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq()) {
        let characters = group.iter().map(|(_, characters)| characters).sum();
        if let Some((size, _)) = group.first().filter(|_| characters > best.1) {
            best = (*size, characters);
        }
    }
    best.0
}

/// Whether `next` goes on with the paragraph of `last`.
fn continues(last: &Line, next: &Line, right: f32) -> bool {
    let size = last.size.max(next.size);
    let leading = last.base - next.base;
    let alike = last.turns == next.turns && (last.size - next.size).abs() < size * 0.12;
    let near = leading > 0.0 && leading < size * 2.1;
    let tabs = last.text.contains('\t') || next.text.contains('\t');
    let full = last.end > right - size * 3.0;
    let indented = next.start > last.start + size * 1.2;
    alike && near && !tabs && full && !indented && !starts_item(&next.text)
}

fn starts_item(text: &str) -> bool {
    let mut characters = text.trim_start().chars();
    match characters.next() {
        Some('•' | '●' | '○' | '■' | '◆' | '▪' | '‧' | '–' | '※' | '➢' | '✓' | '□' | '-' | '*') => {
            true
        }
        Some('0'..='9') => {
            let rest = characters.as_str().trim_start_matches(|character: char| character.is_ascii_digit());
            rest.starts_with([')', '、', '）']) || rest.starts_with(". ")
        }
        Some('（' | '(') => characters.take(4).any(|character| matches!(character, '）' | ')')),
        Some('一'..='十') => characters.next() == Some('、'),
        _ => false,
    }
}

fn block(lines: &[Line], body: f32) -> Option<Block> {
    let first = lines.first()?;
    let mut text = first.text.trim().to_owned();
    for line in lines.iter().skip(1) {
        join_line(&mut text, line.text.trim());
    }
    let ratio = if body > 0.0 { first.size / body } else { 1.0 };
    let short = lines.len() <= 2 && text.chars().count() <= 80;
    if ratio >= 1.18 && short && !text.contains('\t') && !text.ends_with(['。', '，', '；', '.', ',']) {
        let level = if ratio >= 1.7 {
            1
        } else if ratio >= 1.35 {
            2
        } else {
            3
        };
        return Some(Block::Heading { level, text });
    }
    Some(Block::Paragraph(text))
}

fn join_line(text: &mut String, next: &str) {
    let (Some(before), Some(after)) = (text.chars().next_back(), next.chars().next()) else {
        text.push_str(next);
        return;
    };
    if wide(before) || wide(after) {
        text.push_str(next);
        return;
    }
    let letter_before_hyphen = text.chars().rev().nth(1).is_some_and(char::is_alphabetic);
    let last_word = text.rsplit(|character: char| character.is_whitespace() || wide(character)).next();
    let address = last_word.is_some_and(|word| word.contains('@') || word.contains("://"));
    if before == '-' && letter_before_hyphen && after.is_lowercase() {
        text.pop();
    } else if !(address && after.is_ascii_lowercase()) {
        // An address has no blank in it, so one that reaches the end of a line goes on in the next.
        text.push(' ');
    }
    text.push_str(next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::collect::{heading, paragraph};

    fn span(text: &str, start: f32, base: f32, size: f32) -> Span {
        let width: f32 = text.chars().map(|character| if wide(character) { size } else { size / 2.0 }).sum();
        Span { text: text.to_owned(), start, end: start + width, base, size, turns: 0 }
    }

    #[test]
    fn lines_become_paragraphs_and_headings() {
        let page = vec![
            span("退貨政策", 50.0, 700.0, 20.0),
            span("本店商品在收到之後七天之內", 50.0, 660.0, 10.0),
            span("可以退貨。", 50.0, 645.0, 10.0),
            span("An inter-", 140.0, 620.0, 10.0),
            span("national shop", 115.0, 605.0, 10.0),
        ];
        assert_eq!(
            blocks(page),
            [
                heading(1, "退貨政策"),
                paragraph("本店商品在收到之後七天之內可以退貨。"),
                paragraph("An international shop")
            ]
        );
    }

    #[test]
    fn cells_are_set_apart_and_words_are_spaced() {
        let page = vec![
            span("方案", 50.0, 700.0, 10.0),
            span("每月訊息數", 80.0, 700.0, 10.0),
            span("Hello", 50.0, 680.0, 10.0),
            span("world", 78.0, 680.0, 10.0),
        ];
        assert_eq!(blocks(page), [paragraph("方案\t每月訊息數"), paragraph("Hello world")]);
    }

    #[test]
    fn disorder_is_sorted_by_place() {
        let mut page: Vec<Span> =
            (0..20_u8).map(|row| span(&format!("第{row}行"), 50.0, 700.0 - 30.0 * f32::from(row), 10.0)).collect();
        page.reverse();
        let first = blocks(page).remove(0);
        assert_eq!(first, paragraph("第0行"));
    }
}
