//! Bytes of text files to characters.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{BIG5, Encoding, GBK, UTF_8, UTF_16BE, UTF_16LE};

/// Decodes a text file: byte order mark first, then valid UTF-8, UTF-16 without a mark, `declared` (for example the
/// charset of a web page), and last a guess from the byte statistics.
pub(crate) fn decode_text(bytes: &[u8], declared: Option<&'static Encoding>) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let body = bytes.get(mark..).unwrap_or_default();
        return encoding.decode_without_bom_handling(body).0.into_owned();
    }
    let sniffed = sniff_utf16(bytes.get(..bytes.len().min(4096)).unwrap_or(bytes));
    if sniffed.is_none()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let encoding = sniffed.or(declared);
    let encoding = encoding.unwrap_or_else(|| guess(bytes));
    let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
    if had_errors && encoding != UTF_8 {
        let fallback = guess(bytes);
        if fallback != encoding {
            return fallback.decode_without_bom_handling(bytes).0.into_owned();
        }
    }
    text.into_owned()
}

/// Recognises UTF-16 without a byte order mark by zero bytes that all stand in the same half of the pairs.
pub(crate) fn sniff_utf16(head: &[u8]) -> Option<&'static Encoding> {
    let pairs = head.len() / 2;
    if pairs < 2 {
        return None;
    }
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let (high, low) = (zeros(0), zeros(1));
    if low * 5 > pairs && high == 0 {
        Some(UTF_16LE)
    } else if high * 5 > pairs && low == 0 {
        Some(UTF_16BE)
    } else {
        None
    }
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    // A quarter megabyte settles the question; the rest would only cost time.
    let sample = bytes.get(..bytes.len().min(256 << 10)).unwrap_or(bytes);
    detector.feed(sample, sample.len() == bytes.len());
    let best = detector.guess(None, Utf8Detection::Allow);
    if best.is_single_byte() {
        // Short Chinese text is often taken for a Western code page. When it is flawless and mostly ideographs as
        // Big5 or GBK, that is what it is.
        for candidate in [BIG5, GBK] {
            if let Some(text) = candidate.decode_without_bom_handling_and_without_replacement(sample) {
                let wide = text.chars().filter(|character| !character.is_ascii()).count();
                let ideographs = text.chars().filter(|character| common_ideograph(*character)).count();
                if wide >= 2 && ideographs * 10 >= wide * 9 {
                    return candidate;
                }
            }
        }
    }
    best
}

fn common_ideograph(character: char) -> bool {
    matches!(character, '\u{4E00}'..='\u{9FFF}' | '\u{3000}'..='\u{303F}' | '\u{FF00}'..='\u{FF5E}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::SHIFT_JIS;

    const CHINESE: &str = "退貨政策：商品收到後七天內可以申請退貨，請保留發票與完整包裝，客服電話為 02-2345-6789。";

    #[test]
    fn marks_win() {
        let mut utf16 = vec![0xFF, 0xFE];
        utf16.extend(CHINESE.encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(decode_text(&utf16, None), CHINESE);
        let mut utf16 = vec![0xFE, 0xFF];
        utf16.extend(CHINESE.encode_utf16().flat_map(u16::to_be_bytes));
        assert_eq!(decode_text(&utf16, None), CHINESE);
        let utf8 = ["\u{FEFF}", CHINESE].concat();
        assert_eq!(decode_text(utf8.as_bytes(), None), CHINESE);
    }

    #[test]
    fn east_asian_code_pages_are_recognised() {
        assert_eq!(decode_text(&BIG5.encode(CHINESE).0, None), CHINESE);
        let simplified = "退货政策：商品收到后七天内可以申请退货，请保留发票与完整包装，客服电话在官网可以查到。";
        assert_eq!(decode_text(&GBK.encode(simplified).0, None), simplified);
        let japanese = "返品について：商品到着後七日以内であれば返品できます。レシートを保管してください。";
        assert_eq!(decode_text(&SHIFT_JIS.encode(japanese).0, None), japanese);
    }

    #[test]
    fn utf16_without_a_mark_is_recognised() {
        let text = "name,price\nA,1\nB,2\n";
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode_text(&bytes, None), text);
    }
}
