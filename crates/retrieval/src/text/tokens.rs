//! The analysis as a tokenizer of the full-text library.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::schema::KEY_LENGTH;
use crate::analysis::Analysis;

/// Splits a text that begins with a key into terms that each begin with that key.
#[derive(Clone, Default)]
pub(super) struct KeyedTokenizer {
    analysis: Analysis,
    token: Token,
}

pub(super) struct KeyedTokens<'a> {
    key: &'a str,
    next: usize,
    tokenizer: &'a mut KeyedTokenizer,
}

impl Tokenizer for KeyedTokenizer {
    type TokenStream<'a> = KeyedTokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> KeyedTokens<'a> {
        let (key, passage) = text.split_at_checked(KEY_LENGTH).unwrap_or(("", text));
        self.analysis.analyse(passage);
        self.token = Token::default();
        KeyedTokens { key, next: 0, tokenizer: self }
    }
}

impl TokenStream for KeyedTokens<'_> {
    fn advance(&mut self) -> bool {
        let KeyedTokenizer { analysis, token } = &mut *self.tokenizer;
        let Some(term) = analysis.term(self.next) else {
            return false;
        };
        token.text.clear();
        token.text.push_str(self.key);
        token.text.push_str(term);
        token.position = self.next;
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.tokenizer.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokenizer.token
    }
}
