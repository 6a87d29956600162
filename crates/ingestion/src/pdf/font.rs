//! Fonts: codes of a shown string to text and widths.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_8, UTF_16BE};
use lopdf::{Dictionary, Document, Object};

use super::cmap::CMap;
use super::stream_bytes;
use crate::ParseError;

/// One code of a shown string.
pub(super) struct Shown {
    /// Its text; `None` when the font does not say which character it is.
    pub(super) text: Option<String>,
    /// Its width in thousandths of the font size.
    pub(super) width: f32,
    /// Whether word spacing applies.
    pub(super) is_single_space: bool,
}

/// How the codes of a composite font are told apart and what they mean without a `ToUnicode` map.
#[derive(Clone, Copy)]
enum Codes {
    /// Two bytes, meaning unknown.
    Pairs,
    /// Text in a character encoding.
    Encoded(&'static Encoding),
    /// JIS row and cell, two bytes with the high bits clear.
    JisRows,
}

enum Kind {
    Simple { table: Vec<Option<String>> },
    Composite { codes: Codes, embedded: Option<CMap> },
}

/// A font as far as text extraction needs it.
pub(super) struct Font {
    kind: Kind,
    to_unicode: Option<CMap>,
    widths: HashMap<u32, f32>,
    default_width: f32,
    pub(super) vertical: bool,
}

const MAX_WIDTHS: usize = 70_000;

impl Font {
    pub(super) fn load(document: &Document, dictionary: &Dictionary) -> Result<Self, ParseError> {
        let to_unicode = match dictionary.get_deref(b"ToUnicode", document).and_then(Object::as_stream) {
            Ok(stream) => stream_bytes(stream)?.map(|bytes| CMap::parse(&bytes)).filter(|map| !map.is_empty()),
            Err(_) => None,
        };
        if dictionary.get_deref(b"Subtype", document).and_then(Object::as_name).ok() == Some(b"Type0") {
            Self::composite(document, dictionary, to_unicode)
        } else {
            Ok(Self::simple(document, dictionary, to_unicode))
        }
    }

    fn simple(document: &Document, dictionary: &Dictionary, to_unicode: Option<CMap>) -> Self {
        let mut widths = HashMap::new();
        let first = dictionary.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
        // Type 3 fonts have their own unit.
        let scale = match dictionary.get_deref(b"FontMatrix", document).and_then(Object::as_array) {
            Ok(matrix) => matrix.first().and_then(|value| value.as_float().ok()).unwrap_or(0.001) * 1000.0,
            Err(_) => 1.0,
        };
        if let Ok(list) = dictionary.get_deref(b"Widths", document).and_then(Object::as_array) {
            for (width, offset) in list.iter().take(256).zip(0_i64..) {
                let width = document.dereference(width).ok().and_then(|(_, width)| width.as_float().ok());
                if let (Some(width), Ok(code)) = (width, u32::try_from(first.saturating_add(offset))) {
                    widths.insert(code, width * scale);
                }
            }
        }
        let table = simple_table(document, dictionary);
        Self { kind: Kind::Simple { table }, to_unicode, widths, default_width: 500.0, vertical: false }
    }

    fn composite(document: &Document, dictionary: &Dictionary, to_unicode: Option<CMap>) -> Result<Self, ParseError> {
        let descendant = dictionary
            .get_deref(b"DescendantFonts", document)
            .and_then(Object::as_array)
            .ok()
            .and_then(|list| list.first())
            .and_then(|font| document.dereference(font).ok())
            .and_then(|(_, font)| font.as_dict().ok());
        let encoding = dictionary.get_deref(b"Encoding", document).ok();
        let (mut codes, mut embedded, mut vertical) = (Codes::Pairs, None, false);
        match encoding {
            Some(Object::Name(name)) => {
                codes = predefined(name);
                vertical = name.ends_with(b"-V") || name.as_slice() == b"V";
            }
            Some(Object::Stream(stream)) => {
                if let Ok(Object::Name(base)) = stream.dict.get_deref(b"UseCMap", document) {
                    codes = predefined(base);
                }
                vertical = stream.dict.get(b"WMode").and_then(Object::as_i64).ok() == Some(1);
                embedded = stream_bytes(stream)?.map(|bytes| CMap::parse(&bytes));
            }
            _ => {}
        }
        let mut font = Self {
            kind: Kind::Composite { codes, embedded },
            to_unicode,
            widths: HashMap::new(),
            default_width: 1000.0,
            vertical,
        };
        if let Some(descendant) = descendant {
            font.read_composite_widths(document, descendant);
        }
        Ok(font)
    }

    /// `W`: `first [w w w]` or `first last w`, in any mixture. Widths are by glyph number, which is the code only
    /// for identity encodings; for others the default is good enough.
    fn read_composite_widths(&mut self, document: &Document, descendant: &Dictionary) {
        if let Ok(width) = descendant.get_deref(b"DW", document).and_then(Object::as_float) {
            self.default_width = width;
        }
        if !matches!(self.kind, Kind::Composite { codes: Codes::Pairs, .. }) {
            return;
        }
        let Ok(list) = descendant.get_deref(b"W", document).and_then(Object::as_array) else { return };
        let mut pending: Vec<i64> = Vec::new();
        for item in list {
            let Ok((_, item)) = document.dereference(item) else { continue };
            if self.widths.len() > MAX_WIDTHS {
                return;
            }
            match item {
                Object::Array(widths) => {
                    let first = pending.pop().unwrap_or(0);
                    pending.clear();
                    for (width, offset) in widths.iter().take(MAX_WIDTHS).zip(0_i64..) {
                        if let (Ok(width), Ok(code)) = (width.as_float(), u32::try_from(first.saturating_add(offset))) {
                            self.widths.insert(code, width);
                        }
                    }
                }
                other => {
                    if let ([first, last], Ok(width)) = (pending.as_slice(), other.as_float()) {
                        for code in (*first..=*last).take(MAX_WIDTHS) {
                            if let Ok(code) = u32::try_from(code) {
                                self.widths.insert(code, width);
                            }
                        }
                        pending.clear();
                    } else if let Ok(number) = other.as_i64() {
                        pending.push(number);
                    }
                }
            }
        }
    }

    /// Splits a shown string into its codes.
    pub(super) fn show(&self, mut bytes: &[u8], mut each: impl FnMut(Shown)) {
        while !bytes.is_empty() {
            let length = self.code_length(bytes).clamp(1, bytes.len());
            let (head, rest) = bytes.split_at(length);
            bytes = rest;
            let code = head.iter().fold(0_u32, |code, byte| code << 8 | u32::from(*byte));
            let mapped = self.to_unicode.as_ref().and_then(|map| {
                // Some writers give two-byte codes one-byte keys in the map.
                map.text(length, code).or_else(|| if code < 256 { map.text(3 - length.min(2), code) } else { None })
            });
            let text = mapped.or_else(|| self.own_text(head, code));
            let width = self.widths.get(&code).copied().unwrap_or_else(|| self.fallback_width(text.as_deref()));
            each(Shown { text, width, is_single_space: length == 1 && code == 32 });
        }
    }

    fn fallback_width(&self, text: Option<&str>) -> f32 {
        match &self.kind {
            Kind::Composite { codes: Codes::Encoded(_) | Codes::JisRows, .. } if text.is_some_and(str::is_ascii) => {
                self.default_width / 2.0
            }
            _ => self.default_width,
        }
    }

    fn code_length(&self, bytes: &[u8]) -> usize {
        let Kind::Composite { codes, embedded } = &self.kind else { return 1 };
        let Some(first) = bytes.first() else { return 1 };
        if let Some(length) = embedded.as_ref().and_then(|map| map.code_length(bytes)) {
            return length;
        }
        match codes {
            Codes::Pairs | Codes::JisRows => 2,
            Codes::Encoded(encoding) if *encoding == UTF_16BE => {
                if (0xD8..=0xDB).contains(first) {
                    4
                } else {
                    2
                }
            }
            Codes::Encoded(encoding) if *encoding == UTF_8 => match first {
                0..=0xBF => 1,
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                _ => 4,
            },
            Codes::Encoded(encoding) if *encoding == SHIFT_JIS => {
                if matches!(first, 0x81..=0x9F | 0xE0..=0xFC) {
                    2
                } else {
                    1
                }
            }
            Codes::Encoded(encoding) if *encoding == GB18030 => match (first, bytes.get(1)) {
                (0x81..=0xFE, Some(0x30..=0x39)) => 4,
                (0x81..=0xFE, _) => 2,
                _ => 1,
            },
            Codes::Encoded(_) => {
                if *first >= 0x81 {
                    2
                } else {
                    1
                }
            }
        }
    }

    /// The text of a code by the font's own encoding.
    fn own_text(&self, code_bytes: &[u8], code: u32) -> Option<String> {
        let decoded = match &self.kind {
            Kind::Simple { table } => return table.get(code as usize).cloned().flatten(),
            Kind::Composite { codes: Codes::Pairs, .. } => return None,
            Kind::Composite { codes: Codes::Encoded(encoding), .. } => {
                encoding.decode_without_bom_handling_and_without_replacement(code_bytes)?
            }
            Kind::Composite { codes: Codes::JisRows, .. } => {
                let high: Vec<u8> = code_bytes.iter().map(|byte| byte | 0x80).collect();
                let text = EUC_JP.decode_without_bom_handling_and_without_replacement(&high)?.into_owned();
                return Some(text);
            }
        };
        let shows = |character: char| !character.is_control();
        decoded.chars().all(shows).then(|| decoded.into_owned())
    }
}

/// The predefined character maps whose codes are characters. Names are those of the PDF specification, section on
/// predefined maps; the Big5, GBK and Shift-JIS families differ from the web encodings only in vendor characters.
fn predefined(name: &[u8]) -> Codes {
    let name = String::from_utf8_lossy(name);
    if name.contains("-UCS2-") || name.contains("-UTF16-") {
        return Codes::Encoded(UTF_16BE);
    }
    if name.contains("-UTF8-") {
        return Codes::Encoded(UTF_8);
    }
    let stem = name.trim_end_matches("-H").trim_end_matches("-V");
    match stem {
        "B5pc" | "HKscs-B5" | "ETen-B5" | "ETenms-B5" => Codes::Encoded(BIG5),
        "GB-EUC" | "GBpc-EUC" | "GBK-EUC" | "GBKp-EUC" | "GBK2K" => Codes::Encoded(GB18030),
        "83pv-RKSJ" | "90ms-RKSJ" | "90msp-RKSJ" | "90pv-RKSJ" | "Add-RKSJ" | "Ext-RKSJ" => Codes::Encoded(SHIFT_JIS),
        "EUC" => Codes::Encoded(EUC_JP),
        "KSC-EUC" | "KSCms-UHC" | "KSCms-UHC-HW" | "KSCpc-EUC" => Codes::Encoded(EUC_KR),
        "H" | "V" => Codes::JisRows,
        _ => Codes::Pairs,
    }
}

/// The 256 texts of a simple font: its base encoding, changed by its differences.
fn simple_table(document: &Document, dictionary: &Dictionary) -> Vec<Option<String>> {
    let mut base: Option<&[u8]> = None;
    let mut differences: &[Object] = &[];
    match dictionary.get_deref(b"Encoding", document) {
        Ok(Object::Name(name)) => base = Some(name),
        Ok(Object::Dictionary(encoding)) => {
            base = encoding.get_deref(b"BaseEncoding", document).and_then(Object::as_name).ok();
            if let Ok(list) = encoding.get_deref(b"Differences", document).and_then(Object::as_array) {
                differences = list;
            }
        }
        _ => {}
    }
    let known: [&[u8]; 4] = [b"WinAnsiEncoding", b"MacRomanEncoding", b"StandardEncoding", b"MacExpertEncoding"];
    let base = base.filter(|name| known.contains(name)).unwrap_or(b"StandardEncoding");
    let mut table = library_texts(document, Object::Name(base.to_vec()), 0..=255);
    let mut code = 0_usize;
    for item in differences.iter().take(1024) {
        match item {
            Object::Name(name) => {
                if let Some(entry) = table.get_mut(code) {
                    *entry = glyph_text(document, name);
                }
                code += 1;
            }
            other => code = other.as_i64().ok().and_then(|value| usize::try_from(value).ok()).unwrap_or(code),
        }
    }
    table
}

/// Asks the PDF library for its encoding tables, which it only shows through fonts.
fn library_texts(document: &Document, encoding: Object, codes: RangeInclusive<u8>) -> Vec<Option<String>> {
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", encoding);
    let Ok(encoding) = font.get_font_encoding(document) else { return vec![None; codes.len()] };
    codes.map(|byte| Document::decode_text(&encoding, &[byte]).ok().filter(|text| !text.is_empty())).collect()
}

/// The text of a glyph name: `uni` and `u` forms, then the library's glyph list.
fn glyph_text(document: &Document, name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let stem = name.split('.').next().filter(|stem| !stem.is_empty())?;
    let hexadecimal = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    if let Some(digits) = stem.strip_prefix("uni").filter(|digits| digits.len() >= 4 && digits.len() % 4 == 0) {
        let units: Option<Vec<u16>> =
            (0..digits.len()).step_by(4).map(|at| u16::from_str_radix(digits.get(at..at + 4)?, 16).ok()).collect();
        return units.and_then(|units| String::from_utf16(&units).ok());
    }
    if let Some(character) = stem.strip_prefix('u').filter(|digits| digits.len() >= 4).and_then(hexadecimal) {
        return Some(character.to_string());
    }
    let ligature = match stem {
        "fi" => "fi",
        "fl" => "fl",
        "ff" => "ff",
        "ffi" => "ffi",
        "ffl" => "ffl",
        "space" => " ",
        _ => "",
    };
    if !ligature.is_empty() {
        return Some(ligature.to_owned());
    }
    let mut encoding = Dictionary::new();
    encoding.set("Differences", Object::Array(vec![Object::Integer(0), Object::Name(stem.as_bytes().to_vec())]));
    let texts = library_texts(document, Object::Dictionary(encoding), 0..=0);
    texts.into_iter().next().flatten().filter(|text| !text.contains('\0'))
}
