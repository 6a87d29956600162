//! The tokens of content streams and character maps. Tolerant, without recursion.

/// An operand or an operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'bytes> {
    Number(f32),
    Name(&'bytes [u8]),
    String(Vec<u8>),
    ArrayStart,
    ArrayEnd,
    Operator(&'bytes [u8]),
}

/// Splits a stream into tokens. Dictionaries and the data of inline images are passed over.
pub(super) struct Tokens<'bytes> {
    bytes: &'bytes [u8],
    position: usize,
}

impl<'bytes> Tokens<'bytes> {
    pub(super) fn new(bytes: &'bytes [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.position + ahead).copied()
    }

    fn skip_space_and_comments(&mut self) {
        while let Some(byte) = self.peek(0) {
            if byte == b'%' {
                while self.peek(0).is_some_and(|byte| byte != b'\n' && byte != b'\r') {
                    self.position += 1;
                }
            } else if is_space(byte) {
                self.position += 1;
            } else {
                return;
            }
        }
    }

    /// A run of regular characters.
    fn word(&mut self) -> &'bytes [u8] {
        let start = self.position;
        while self.peek(0).is_some_and(|byte| !is_space(byte) && !is_delimiter(byte)) {
            self.position += 1;
        }
        self.bytes.get(start..self.position).unwrap_or_default()
    }

    fn literal(&mut self) -> Vec<u8> {
        let mut string = Vec::new();
        let mut open = 1_u32;
        self.position += 1;
        while let Some(byte) = self.peek(0) {
            self.position += 1;
            match byte {
                b'(' => open += 1,
                b')' => {
                    open -= 1;
                    if open == 0 {
                        break;
                    }
                }
                b'\\' => {
                    self.escape(&mut string);
                    continue;
                }
                _ => {}
            }
            string.push(byte);
        }
        string
    }

    fn escape(&mut self, string: &mut Vec<u8>) {
        let Some(byte) = self.peek(0) else { return };
        self.position += 1;
        match byte {
            b'n' => string.push(b'\n'),
            b'r' => string.push(b'\r'),
            b't' => string.push(b'\t'),
            b'b' => string.push(8),
            b'f' => string.push(12),
            b'\r' => self.position += usize::from(self.peek(0) == Some(b'\n')),
            b'\n' => {}
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek(0) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                    self.position += 1;
                }
                string.push(value.to_le_bytes()[0]);
            }
            other => string.push(other),
        }
    }

    fn hexadecimal(&mut self) -> Vec<u8> {
        self.position += 1;
        let mut string = Vec::new();
        let mut half = None;
        while let Some(byte) = self.peek(0) {
            self.position += 1;
            if byte == b'>' {
                break;
            }
            let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()) else {
                continue;
            };
            match half.take() {
                Some(high) => string.push(high << 4 | digit),
                None => half = Some(digit),
            }
        }
        if let Some(high) = half {
            string.push(high << 4);
        }
        string
    }

    /// After `ID`: skips to the end of `EI` that stands alone.
    fn skip_inline_image(&mut self) {
        while self.position < self.bytes.len() {
            let alone = |byte: Option<u8>| byte.is_none_or(is_space);
            let before = self.position.checked_sub(1).and_then(|index| self.bytes.get(index)).copied();
            if self.peek(0) == Some(b'E') && self.peek(1) == Some(b'I') && alone(self.peek(2)) && alone(before) {
                self.position += 2;
                return;
            }
            self.position += 1;
        }
    }
}

impl<'bytes> Iterator for Tokens<'bytes> {
    type Item = Token<'bytes>;

    fn next(&mut self) -> Option<Token<'bytes>> {
        loop {
            self.skip_space_and_comments();
            return Some(match self.peek(0)? {
                b'(' => Token::String(self.literal()),
                b'<' if self.peek(1) == Some(b'<') => {
                    // Marks of dictionaries are passed over, so their members look like loose operands.
                    self.position += 2;
                    continue;
                }
                b'<' => Token::String(self.hexadecimal()),
                b'[' => {
                    self.position += 1;
                    Token::ArrayStart
                }
                b']' => {
                    self.position += 1;
                    Token::ArrayEnd
                }
                b'/' => {
                    self.position += 1;
                    Token::Name(self.word())
                }
                b'>' | b'{' | b'}' | b')' => {
                    self.position += 1;
                    continue;
                }
                _ => {
                    let word = self.word();
                    if let Some(number) = number(word) {
                        Token::Number(number)
                    } else {
                        if word == b"ID" {
                            self.skip_inline_image();
                        }
                        Token::Operator(word)
                    }
                }
            });
        }
    }
}

fn number(word: &[u8]) -> Option<f32> {
    if !word.first().is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')) {
        return None;
    }
    let text = std::str::from_utf8(word).ok()?;
    let value: f32 = text.parse().ok().or_else(|| {
        // Some writers double the sign or put one inside.
        let sign = if text.starts_with('-') { "-" } else { "" };
        let digits: String = text.chars().filter(|character| !matches!(character, '-' | '+')).collect();
        [sign, &digits].concat().parse().ok()
    })?;
    value.is_finite().then_some(value)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_all_kinds() {
        let stream = b"BT /F1 12 Tf [(a\\(b\\051\\n) -20.5 <4E2D5>] TJ % comment\nBI /W 1 ID \x01EIx EI Q --5 (open";
        let tokens: Vec<_> = Tokens::new(stream).collect();
        assert_eq!(
            tokens,
            [
                Token::Operator(b"BT"),
                Token::Name(b"F1"),
                Token::Number(12.0),
                Token::Operator(b"Tf"),
                Token::ArrayStart,
                Token::String(b"a(b)\n".to_vec()),
                Token::Number(-20.5),
                Token::String(vec![0x4E, 0x2D, 0x50]),
                Token::ArrayEnd,
                Token::Operator(b"TJ"),
                Token::Operator(b"BI"),
                Token::Name(b"W"),
                Token::Number(1.0),
                Token::Operator(b"ID"),
                Token::Operator(b"Q"),
                Token::Number(-5.0),
                Token::String(b"open".to_vec()),
            ]
        );
    }
}
