//! Runs content streams and notes which text is shown where.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::content::{Token, Tokens};
use super::font::Font;
use super::stream_bytes;
use crate::ParseError;

/// An affine map `[a b c d e f]` as PDF writes it.
#[derive(Debug, Clone, Copy)]
struct Matrix([f32; 6]);

impl Matrix {
    const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// First `self`, then `next`.
    fn then(self, next: Self) -> Self {
        let (first, second) = (self.0, next.0);
        let row = |x: f32, y: f32| (x * second[0] + y * second[2], x * second[1] + y * second[3]);
        let (right, up, origin) = (row(first[0], first[1]), row(first[2], first[3]), row(first[4], first[5]));
        Self([right.0, right.1, up.0, up.1, origin.0 + second[4], origin.1 + second[5]])
    }

    fn moved(self, x: f32, y: f32) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y]).then(self)
    }
}

/// Text on one base line without a gap.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) text: String,
    /// Start and end along the direction of writing.
    pub(super) start: f32,
    pub(super) end: f32,
    /// Place of the base line; larger is further up.
    pub(super) base: f32,
    /// Font size on the page.
    pub(super) size: f32,
    /// Direction of writing in quarter turns.
    pub(super) turns: u8,
}

/// What a page shows.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) spans: Vec<Span>,
    /// Codes shown, and those among them whose character is unknown.
    pub(super) codes: u32,
    pub(super) unreadable: u32,
}

const MAX_DEPTH: u32 = 8;
const MAX_FORMS: u32 = 1_000;
const MAX_STATES: usize = 256;
const MAX_SPANS: usize = 500_000;
const MAX_OPERANDS: usize = 1 << 16;

#[derive(Clone)]
struct State {
    matrix: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    character_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
    rise: f32,
}

/// Reads the pages of one document; fonts are loaded once.
pub(super) struct Interpreter<'document> {
    document: &'document Document,
    fonts: HashMap<ObjectId, Option<Rc<Font>>>,
    shown: Shown,
    forms: u32,
}

/// An operand that text operators use.
enum Operand<'bytes> {
    Number(f32),
    Name(&'bytes [u8]),
    String(Vec<u8>),
}

impl<'document> Interpreter<'document> {
    pub(super) fn new(document: &'document Document) -> Self {
        Self { document, fonts: HashMap::new(), shown: Shown::default(), forms: 0 }
    }

    /// Runs the content of a page.
    pub(super) fn page(&mut self, content: &[u8], resources: Option<&Dictionary>) -> Result<Shown, ParseError> {
        self.forms = 0;
        let state = State {
            matrix: Matrix::IDENTITY,
            font: None,
            size: 1.0,
            character_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        self.run(content, resources, state, 0)?;
        Ok(std::mem::take(&mut self.shown))
    }

    fn run(
        &mut self,
        content: &[u8],
        resources: Option<&Dictionary>,
        mut state: State,
        depth: u32,
    ) -> Result<(), ParseError> {
        let mut saved: Vec<State> = Vec::new();
        let mut text = Matrix::IDENTITY;
        let mut line = Matrix::IDENTITY;
        let mut operands: Vec<Operand<'_>> = Vec::new();
        for token in Tokens::new(content) {
            if self.shown.spans.len() > MAX_SPANS {
                return Err(ParseError::too_large(
                    "A page of the PDF shows far too much text. Export the document again.",
                ));
            }
            let operator = match token {
                Token::Operator(operator) => operator,
                other => {
                    push(&mut operands, other);
                    continue;
                }
            };
            let number = |from_end: usize| match operands.len().checked_sub(from_end).and_then(|at| operands.get(at)) {
                Some(Operand::Number(number)) => *number,
                _ => 0.0,
            };
            match operator {
                b"q" if saved.len() < MAX_STATES => saved.push(state.clone()),
                b"Q" => state = saved.pop().unwrap_or(state),
                b"cm" => state.matrix = matrix(&number).then(state.matrix),
                b"BT" => (text, line) = (Matrix::IDENTITY, Matrix::IDENTITY),
                b"Tc" => state.character_space = number(1),
                b"Tw" => state.word_space = number(1),
                b"Tz" => state.scale = number(1) / 100.0,
                b"TL" => state.leading = number(1),
                b"Ts" => state.rise = number(1),
                b"Tf" => {
                    state.size = number(1);
                    if let Some(Operand::Name(name)) = operands.first() {
                        state.font = self.font(resources, name)?;
                    }
                }
                b"Td" | b"TD" => {
                    line = line.moved(number(2), number(1));
                    text = line;
                    if operator == b"TD" {
                        state.leading = -number(1);
                    }
                }
                b"Tm" => {
                    line = matrix(&number);
                    text = line;
                }
                b"T*" => {
                    line = line.moved(0.0, -state.leading);
                    text = line;
                }
                b"Tj" | b"TJ" => self.show_all(&operands, &state, &mut text),
                b"'" | b"\"" => {
                    if operator == b"\"" {
                        (state.word_space, state.character_space) = (number(3), number(2));
                    }
                    line = line.moved(0.0, -state.leading);
                    text = line;
                    if let Some(string) = operands.split_off(operands.len().saturating_sub(1)).pop() {
                        self.show_all(&[string], &state, &mut text);
                    }
                }
                b"Do" => {
                    if let Some(Operand::Name(name)) = operands.first() {
                        self.form(resources, name, &state, depth)?;
                    }
                }
                _ => {}
            }
            operands.clear();
        }
        Ok(())
    }

    /// Runs a form, unless forms are nested or repeated beyond all reason.
    fn form(
        &mut self,
        resources: Option<&Dictionary>,
        name: &[u8],
        state: &State,
        depth: u32,
    ) -> Result<(), ParseError> {
        let document = self.document;
        let found = resources
            .and_then(|resources| resources.get_deref(b"XObject", document).ok())
            .and_then(|list| list.as_dict().ok())
            .and_then(|list| list.get_deref(name, document).ok())
            .and_then(|object| object.as_stream().ok());
        let Some(stream) = found else { return Ok(()) };
        let subtype = stream.dict.get_deref(b"Subtype", document).and_then(Object::as_name).ok();
        if subtype != Some(b"Form") || depth >= MAX_DEPTH || self.forms >= MAX_FORMS {
            return Ok(());
        }
        self.forms += 1;
        let Some(content) = stream_bytes(stream)? else { return Ok(()) };
        let mut inner = state.clone();
        if let Ok(list) = stream.dict.get_deref(b"Matrix", document).and_then(Object::as_array) {
            let value = |from_end: usize| {
                list.len()
                    .checked_sub(from_end)
                    .and_then(|at| list.get(at))
                    .and_then(|v| v.as_float().ok())
                    .unwrap_or(0.0)
            };
            inner.matrix = matrix(&value).then(inner.matrix);
        }
        let own = stream.dict.get_deref(b"Resources", document).and_then(Object::as_dict).ok();
        self.run(&content, own.or(resources), inner, depth + 1)
    }

    fn font(&mut self, resources: Option<&Dictionary>, name: &[u8]) -> Result<Option<Rc<Font>>, ParseError> {
        let document = self.document;
        let fonts = resources
            .and_then(|resources| resources.get_deref(b"Font", document).ok())
            .and_then(|list| list.as_dict().ok());
        let Some(object) = fonts.and_then(|fonts| fonts.get(name).ok()) else { return Ok(None) };
        let id = object.as_reference().ok();
        if let Some(known) = id.and_then(|id| self.fonts.get(&id)) {
            return Ok(known.clone());
        }
        let dictionary = document.dereference(object).ok().and_then(|(_, font)| font.as_dict().ok());
        let font = match dictionary {
            Some(dictionary) => Some(Rc::new(Font::load(document, dictionary)?)),
            None => None,
        };
        if let Some(id) = id {
            self.fonts.insert(id, font.clone());
        }
        Ok(font)
    }

    fn show_all(&mut self, operands: &[Operand<'_>], state: &State, text: &mut Matrix) {
        let Some(font) = state.font.clone() else { return };
        for operand in operands {
            match operand {
                Operand::String(string) => self.show(string, &font, state, text),
                Operand::Number(adjustment) => {
                    let distance = -adjustment / 1000.0 * state.size;
                    *text =
                        if font.vertical { text.moved(0.0, distance) } else { text.moved(distance * state.scale, 0.0) };
                }
                Operand::Name(_) => {}
            }
        }
    }

    fn show(&mut self, string: &[u8], font: &Font, state: &State, text: &mut Matrix) {
        let shown = &mut self.shown;
        font.show(string, |code| {
            shown.codes = shown.codes.saturating_add(1);
            let spacing = state.character_space + if code.is_single_space { state.word_space } else { 0.0 };
            let (dx, dy) = if font.vertical {
                (0.0, -state.size - spacing)
            } else {
                ((code.width / 1000.0 * state.size + spacing) * state.scale, 0.0)
            };
            let before = text.moved(0.0, state.rise).then(state.matrix);
            let glyph_end = if font.vertical {
                text.moved(0.0, -state.size)
            } else {
                text.moved(code.width / 1000.0 * state.size * state.scale, state.rise)
            };
            let after = glyph_end.then(state.matrix);
            *text = text.moved(dx, dy);
            let Some(characters) = code.text.filter(|text| !text.chars().any(private_use)) else {
                shown.unreadable = shown.unreadable.saturating_add(1);
                return;
            };
            place(&mut shown.spans, &characters, before, after, state.size);
        });
    }
}

fn private_use(character: char) -> bool {
    matches!(character, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..)
}

/// Keeps an operand; the brackets of lists do not matter, because a list stands alone before its operator.
fn push<'bytes>(operands: &mut Vec<Operand<'bytes>>, token: Token<'bytes>) {
    if operands.len() < MAX_OPERANDS {
        operands.extend(match token {
            Token::Number(number) => Some(Operand::Number(number)),
            Token::Name(name) => Some(Operand::Name(name)),
            Token::String(string) => Some(Operand::String(string)),
            Token::ArrayStart | Token::ArrayEnd | Token::Operator(_) => None,
        });
    }
}

fn matrix(number: &dyn Fn(usize) -> f32) -> Matrix {
    Matrix([number(6), number(5), number(4), number(3), number(2), number(1)])
}

/// Adds a character to the last span when it follows it closely, else starts a span.
fn place(spans: &mut Vec<Span>, characters: &str, before: Matrix, after: Matrix, size: f32) {
    let [right_x, right_y, up_x, up_y, from_x, from_y] = before.0;
    let [.., to_x, to_y] = after.0;
    let height = (up_x.hypot(up_y) * size.abs()).max(0.01);
    // A character without width has the direction of the matrix.
    let (mut along_x, mut along_y) = (right_x, right_y);
    if (to_x - from_x).hypot(to_y - from_y) > 0.001 {
        (along_x, along_y) = (to_x - from_x, to_y - from_y);
    }
    let turns = if along_x.abs() >= along_y.abs() {
        if along_x >= 0.0 { 0 } else { 2 }
    } else if along_y > 0.0 {
        1
    } else {
        3
    };
    let turn = |x: f32, y: f32| match turns {
        0 => (x, y),
        1 => (y, -x),
        2 => (-x, -y),
        _ => (-y, x),
    };
    let ((start, base), (end, _)) = (turn(from_x, from_y), turn(to_x, to_y));
    if !(start.is_finite() && end.is_finite() && base.is_finite() && height.is_finite()) {
        return;
    }
    if let Some(last) = spans.last_mut()
        && last.turns == turns
        && (last.base - base).abs() < height * 0.05
        && (last.size - height).abs() < height * 0.05
        && (start - last.end).abs() < height * 0.12
        && last.text.len() < 4096
    {
        last.text.push_str(characters);
        last.end = end.max(last.end);
        return;
    }
    spans.push(Span { text: characters.to_owned(), start, end, base, size: height, turns });
}
