//! `ToUnicode` maps and the codespace of embedded character maps.

use super::content::{Token, Tokens};

const MAX_RANGES: usize = 200_000;

#[derive(Debug, Clone)]
struct CodeRange {
    length: usize,
    low: u32,
    high: u32,
    /// UTF-16 units of the first code; the last unit counts up with the code.
    first: Vec<u16>,
}

/// A map from codes to text.
#[derive(Debug, Default)]
pub(super) struct CMap {
    ranges: Vec<CodeRange>,
    /// Length in bytes, first and last code of each codespace range.
    codespaces: Vec<(usize, u32, u32)>,
}

impl CMap {
    pub(super) fn parse(stream: &[u8]) -> Self {
        let mut map = Self::default();
        let mut strings: Vec<Vec<u8>> = Vec::new();
        let mut array: Option<Vec<Vec<u8>>> = None;
        let mut section: &[u8] = b"";
        for token in Tokens::new(stream) {
            match token {
                Token::String(string) => match &mut array {
                    Some(items) if items.len() < 65_536 => items.push(string),
                    Some(_) => {}
                    None => strings.push(string),
                },
                Token::ArrayStart => array = Some(Vec::new()),
                Token::ArrayEnd => {
                    if let (Some(items), [low, _high]) = (array.take(), strings.as_slice()) {
                        let (length, first) = (low.len(), code(low));
                        for (item, offset) in items.iter().zip(0_u32..) {
                            map.push(length, first.saturating_add(offset), first.saturating_add(offset), units(item));
                        }
                    }
                    strings.clear();
                }
                Token::Operator(operator) => {
                    section = operator;
                    strings.clear();
                }
                _ => {}
            }
            match (section, strings.as_slice()) {
                (b"begincodespacerange", [low, high]) => {
                    if map.codespaces.len() < 256 {
                        map.codespaces.push((low.len(), code(low), code(high)));
                    }
                    strings.clear();
                }
                (b"beginbfchar", [from, to]) => {
                    map.push(from.len(), code(from), code(from), units(to));
                    strings.clear();
                }
                (b"beginbfrange", [low, high, to]) => {
                    map.push(low.len(), code(low), code(high), units(to));
                    strings.clear();
                }
                _ => {}
            }
        }
        map.ranges.sort_by_key(|range| (range.length, range.low));
        map
    }

    fn push(&mut self, length: usize, low: u32, high: u32, to: Vec<u16>) {
        if self.ranges.len() < MAX_RANGES && !to.is_empty() && to.len() <= 32 && high >= low {
            self.ranges.push(CodeRange { length, low, high, first: to });
        }
    }

    /// The text of a code of `length` bytes; nothing when the map does not say or says it is no character.
    pub(super) fn text(&self, length: usize, code: u32) -> Option<String> {
        let after = self.ranges.partition_point(|range| (range.length, range.low) <= (length, code));
        let range = self.ranges.get(after.checked_sub(1)?)?;
        if range.length != length || code > range.high {
            return None;
        }
        let mut units = range.first.clone();
        if let Some(last) = units.last_mut() {
            *last = last.wrapping_add(u16::try_from(code - range.low).ok()?);
        }
        let text = String::from_utf16(&units).ok()?;
        let shows = |character: char| !character.is_control() && character != '\u{FFFD}';
        text.chars().all(shows).then_some(text)
    }

    /// How many bytes the next code has.
    pub(super) fn code_length(&self, bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len().min(4)).find(|length| {
            let candidate = bytes.get(..*length).unwrap_or_default();
            self.codespaces.iter().any(|(size, low, high)| {
                // Each byte must lie between the bytes of the borders.
                size == length
                    && candidate.iter().enumerate().all(|(index, byte)| {
                        let shift = 8 * (size - 1 - index);
                        let border = |code: &u32| (code >> shift) & 0xFF;
                        (border(low)..=border(high)).contains(&u32::from(*byte))
                    })
            })
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

fn code(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |code, byte| code << 8 | u32::from(*byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    match bytes {
        [single] => vec![u16::from(*single)],
        _ => bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_ranges_and_lists() {
        let map = CMap::parse(
            b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n2 beginbfchar <0001> <4E2D> <0002> <D83DDE00> \
              endbfchar 2 beginbfrange <0010> <0012> <0041> <0020> <0021> [<6587> <00660069>] endbfrange",
        );
        let text = |code| map.text(2, code);
        assert_eq!(text(1).as_deref(), Some("中"));
        assert_eq!(text(2).as_deref(), Some("😀"));
        assert_eq!(text(0x12).as_deref(), Some("C"));
        assert_eq!(text(0x13), None);
        assert_eq!(text(0x21).as_deref(), Some("fi"));
        assert_eq!(map.text(1, 1), None);
        assert_eq!(map.code_length(&[0, 1, 0, 2]), Some(2));
    }
}
