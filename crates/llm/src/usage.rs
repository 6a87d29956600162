//! Token counts for providers that give none.
//!
//! The rule: a CJK character (Han, kana, Hangul, full-width forms) is one token, and every four
//! other characters are one token, rounded up for the whole text. This is within about a third of
//! what current tokenizers say for ordinary prose, which is enough to show and to bill by estimate;
//! such counts carry [`Usage::estimated`].

use crate::chat::{ChatMessage, Usage};

/// Tokens added for each message by the chat templates of most models: role and separators.
const TOKENS_PER_MESSAGE: u64 = 4;

/// Counts text that arrives in pieces; the sum does not depend on where it was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenEstimate {
    wide: u64,
    narrow: u64,
}

impl TokenEstimate {
    /// Adds a piece of text.
    pub fn add(&mut self, text: &str) {
        for character in text.chars() {
            if is_wide(character) {
                self.wide += 1;
            } else {
                self.narrow += 1;
            }
        }
    }

    /// Tokens of everything added so far.
    pub const fn tokens(self) -> u64 {
        self.wide + self.narrow.div_ceil(4)
    }
}

/// Tokens of one text.
pub fn estimate_tokens(text: &str) -> u64 {
    let mut estimate = TokenEstimate::default();
    estimate.add(text);
    estimate.tokens()
}

/// Tokens of a prompt. Pictures are not counted: their cost depends on the model.
pub fn estimate_prompt_tokens(messages: &[ChatMessage]) -> u64 {
    messages.iter().map(|message| estimate_tokens(&message.text) + TOKENS_PER_MESSAGE).sum()
}

/// The usage of an answer whose provider gave no numbers.
pub(crate) fn estimated_usage(messages: &[ChatMessage], output: TokenEstimate) -> Usage {
    Usage {
        input_tokens: estimate_prompt_tokens(messages),
        output_tokens: output.tokens(),
        cached_tokens: 0,
        estimated: true,
    }
}

/// Whether a character is of a script that is written without spaces and costs about a token each.
pub(crate) const fn is_wide(character: char) -> bool {
    matches!(character,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::{TokenEstimate, estimate_tokens};

    #[test]
    fn scripts_count_differently() {
        assert_eq!(estimate_tokens(""), 0);
        assert_eq!(estimate_tokens("退貨期限"), 4);
        assert_eq!(estimate_tokens("return"), 2);
        assert_eq!(estimate_tokens("退貨 return"), 4);
    }

    #[test]
    fn cutting_does_not_change_the_sum() {
        let mut estimate = TokenEstimate::default();
        for piece in ["re", "t", "urn"] {
            estimate.add(piece);
        }
        assert_eq!(estimate.tokens(), estimate_tokens("return"));
    }
}
