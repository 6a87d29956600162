//! Colours of themes, written as CSS Color Level 4 has them, and how well one can be read on another.
//!
//! Understood are hexadecimal notations, names, `rgb()` and `hsl()` with their older spellings. What
//! depends on the page or the machine (`currentcolor`, system colours, `var()`) is none: nobody could
//! say whether it can be read.

/// A colour. Components are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    red: f64,
    green: f64,
    blue: f64,
    alpha: f64,
}

impl Colour {
    /// White.
    pub const WHITE: Self = Self { red: 1.0, green: 1.0, blue: 1.0, alpha: 1.0 };
    /// Black.
    pub const BLACK: Self = Self { red: 0.0, green: 0.0, blue: 0.0, alpha: 1.0 };

    /// Reads a colour. `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{c}']).to_ascii_lowercase();
        if let Some(digits) = text.strip_prefix('#') {
            return hexadecimal(digits);
        }
        if let Some((name, arguments)) = text.split_once('(') {
            let arguments = Arguments::read(arguments.strip_suffix(')')?)?;
            return match name {
                "rgb" | "rgba" => arguments.rgb(),
                "hsl" | "hsla" => arguments.hsl(),
                _ => None,
            };
        }
        if text == "transparent" {
            return Some(Self { alpha: 0.0, ..Self::BLACK });
        }
        let found = NAMES.binary_search_by(|(name, _)| (*name).cmp(&text)).ok()?;
        Some(Self::of_bytes(NAMES[found].1))
    }

    fn of_bytes(rgb: u32) -> Self {
        let [_, red, green, blue] = rgb.to_be_bytes();
        Self { red: byte(red), green: byte(green), blue: byte(blue), alpha: 1.0 }
    }

    /// The colour that is seen where this one lies on `ground`, which lets nothing through.
    #[must_use]
    pub fn over(self, ground: Self) -> Self {
        let mix = |front: f64, back: f64| front * self.alpha + back * (1.0 - self.alpha);
        Self {
            red: mix(self.red, ground.red),
            green: mix(self.green, ground.green),
            blue: mix(self.blue, ground.blue),
            alpha: 1.0,
        }
    }

    /// Relative luminance of WCAG 2.
    fn luminance(self) -> f64 {
        let linear = |part: f64| if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }
}

/// Contrast ratio of WCAG 2, from 1 (the same) to 21 (black and white), of text on a ground that lets
/// nothing through. <https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio>
pub fn contrast(text: Colour, ground: Colour) -> f64 {
    let (one, other) = (text.over(ground).luminance(), ground.luminance());
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn byte(value: u8) -> f64 {
    f64::from(value) / 255.0
}

fn hexadecimal(digits: &str) -> Option<Colour> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    // A short notation writes each digit once.
    let short = |shift: u32| byte(u8::try_from((number >> shift) & 0xf).unwrap_or_default() * 0x11);
    match digits.len() {
        3 => Some(Colour { red: short(8), green: short(4), blue: short(0), alpha: 1.0 }),
        4 => Some(Colour { red: short(12), green: short(8), blue: short(4), alpha: short(0) }),
        6 => Some(Colour::of_bytes(number)),
        8 => {
            let [red, green, blue, alpha] = number.to_be_bytes();
            Some(Colour { red: byte(red), green: byte(green), blue: byte(blue), alpha: byte(alpha) })
        }
        _ => None,
    }
}

/// One argument of a colour function.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Argument {
    Number(f64),
    Percent(f64),
    /// An angle in degrees.
    Degrees(f64),
    /// `none`, which counts as 0.
    Missing,
}

impl Argument {
    fn read(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::Missing);
        }
        if let Some(number) = text.strip_suffix('%') {
            return read_number(number).map(Self::Percent);
        }
        // `grad` before `rad`, which it ends with.
        let units = [("deg", 1.0), ("grad", 0.9), ("rad", 180.0 / std::f64::consts::PI), ("turn", 360.0)];
        for (unit, degrees) in units {
            if let Some(number) = text.strip_suffix(unit) {
                return read_number(number).map(|number| Self::Degrees(number * degrees));
            }
        }
        read_number(text).map(Self::Number)
    }

    /// The value, where 100% and `whole` are 1.
    fn part(self, whole: f64) -> Option<f64> {
        let value = match self {
            Self::Number(number) => number / whole,
            Self::Percent(percent) => percent / 100.0,
            Self::Missing => 0.0,
            Self::Degrees(_) => return None,
        };
        Some(value.clamp(0.0, 1.0))
    }
}

/// A number as CSS writes it.
fn read_number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte));
    let digits = text.starts_with(|sign: char| sign.is_ascii_digit() || "+-.".contains(sign));
    let number: f64 = (plain && digits && !text.ends_with('.')).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

/// The arguments of a colour function.
struct Arguments {
    /// Three components.
    parts: [Argument; 3],
    alpha: f64,
    /// Separated by commas, the older spelling, which allows less.
    has_commas: bool,
}

impl Arguments {
    fn read(text: &str) -> Option<Self> {
        let has_commas = text.contains(',');
        let (parts, alpha): (Vec<&str>, Option<&str>) = if has_commas {
            let mut parts: Vec<&str> = text.split(',').map(str::trim).collect();
            let alpha = (parts.len() == 4).then(|| parts.pop()).flatten();
            (parts, alpha)
        } else {
            let (parts, alpha) =
                text.split_once('/').map_or((text, None), |(parts, alpha)| (parts, Some(alpha.trim())));
            (parts.split_ascii_whitespace().collect(), alpha)
        };
        let parts: Vec<Argument> = parts.into_iter().map(Argument::read).collect::<Option<_>>()?;
        let parts: [Argument; 3] = parts.try_into().ok()?;
        if has_commas && parts.contains(&Argument::Missing) {
            return None;
        }
        let alpha = alpha.map_or(Some(1.0), |alpha| Argument::read(alpha)?.part(1.0))?;
        Some(Self { parts, alpha, has_commas })
    }

    fn rgb(&self) -> Option<Colour> {
        let percents = self.parts.iter().filter(|part| matches!(part, Argument::Percent(_))).count();
        if self.has_commas && ![0, 3].contains(&percents) {
            return None;
        }
        let [red, green, blue] = self.parts.map(|part| part.part(255.0));
        Some(Colour { red: red?, green: green?, blue: blue?, alpha: self.alpha })
    }

    fn hsl(&self) -> Option<Colour> {
        let [hue, saturation, lightness] = self.parts;
        let degrees = match hue {
            Argument::Number(degrees) | Argument::Degrees(degrees) => degrees,
            Argument::Missing => 0.0,
            Argument::Percent(_) => return None,
        };
        let is_percent = |part: Argument| matches!(part, Argument::Percent(_));
        if self.has_commas && !(is_percent(saturation) && is_percent(lightness)) {
            return None;
        }
        let (saturation, lightness) = (saturation.part(100.0)?, lightness.part(100.0)?);
        let reach = saturation * lightness.min(1.0 - lightness);
        let component = |offset: f64| {
            let place = (offset + degrees / 30.0).rem_euclid(12.0);
            lightness - reach * (place - 3.0).min(9.0 - place).clamp(-1.0, 1.0)
        };
        Some(Colour { red: component(0.0), green: component(8.0), blue: component(4.0), alpha: self.alpha })
    }
}

/// The named colours of CSS, by name.
const NAMES: [(&str, u32); 148] = [
    ("aliceblue", 0x00f0_f8ff),
    ("antiquewhite", 0x00fa_ebd7),
    ("aqua", 0x0000_ffff),
    ("aquamarine", 0x007f_ffd4),
    ("azure", 0x00f0_ffff),
    ("beige", 0x00f5_f5dc),
    ("bisque", 0x00ff_e4c4),
    ("black", 0x0000_0000),
    ("blanchedalmond", 0x00ff_ebcd),
    ("blue", 0x0000_00ff),
    ("blueviolet", 0x008a_2be2),
    ("brown", 0x00a5_2a2a),
    ("burlywood", 0x00de_b887),
    ("cadetblue", 0x005f_9ea0),
    ("chartreuse", 0x007f_ff00),
    ("chocolate", 0x00d2_691e),
    ("coral", 0x00ff_7f50),
    ("cornflowerblue", 0x0064_95ed),
    ("cornsilk", 0x00ff_f8dc),
    ("crimson", 0x00dc_143c),
    ("cyan", 0x0000_ffff),
    ("darkblue", 0x0000_008b),
    ("darkcyan", 0x0000_8b8b),
    ("darkgoldenrod", 0x00b8_860b),
    ("darkgray", 0x00a9_a9a9),
    ("darkgreen", 0x0000_6400),
    ("darkgrey", 0x00a9_a9a9),
    ("darkkhaki", 0x00bd_b76b),
    ("darkmagenta", 0x008b_008b),
    ("darkolivegreen", 0x0055_6b2f),
    ("darkorange", 0x00ff_8c00),
    ("darkorchid", 0x0099_32cc),
    ("darkred", 0x008b_0000),
    ("darksalmon", 0x00e9_967a),
    ("darkseagreen", 0x008f_bc8f),
    ("darkslateblue", 0x0048_3d8b),
    ("darkslategray", 0x002f_4f4f),
    ("darkslategrey", 0x002f_4f4f),
    ("darkturquoise", 0x0000_ced1),
    ("darkviolet", 0x0094_00d3),
    ("deeppink", 0x00ff_1493),
    ("deepskyblue", 0x0000_bfff),
    ("dimgray", 0x0069_6969),
    ("dimgrey", 0x0069_6969),
    ("dodgerblue", 0x001e_90ff),
    ("firebrick", 0x00b2_2222),
    ("floralwhite", 0x00ff_faf0),
    ("forestgreen", 0x0022_8b22),
    ("fuchsia", 0x00ff_00ff),
    ("gainsboro", 0x00dc_dcdc),
    ("ghostwhite", 0x00f8_f8ff),
    ("gold", 0x00ff_d700),
    ("goldenrod", 0x00da_a520),
    ("gray", 0x0080_8080),
    ("green", 0x0000_8000),
    ("greenyellow", 0x00ad_ff2f),
    ("grey", 0x0080_8080),
    ("honeydew", 0x00f0_fff0),
    ("hotpink", 0x00ff_69b4),
    ("indianred", 0x00cd_5c5c),
    ("indigo", 0x004b_0082),
    ("ivory", 0x00ff_fff0),
    ("khaki", 0x00f0_e68c),
    ("lavender", 0x00e6_e6fa),
    ("lavenderblush", 0x00ff_f0f5),
    ("lawngreen", 0x007c_fc00),
    ("lemonchiffon", 0x00ff_facd),
    ("lightblue", 0x00ad_d8e6),
    ("lightcoral", 0x00f0_8080),
    ("lightcyan", 0x00e0_ffff),
    ("lightgoldenrodyellow", 0x00fa_fad2),
    ("lightgray", 0x00d3_d3d3),
    ("lightgreen", 0x0090_ee90),
    ("lightgrey", 0x00d3_d3d3),
    ("lightpink", 0x00ff_b6c1),
    ("lightsalmon", 0x00ff_a07a),
    ("lightseagreen", 0x0020_b2aa),
    ("lightskyblue", 0x0087_cefa),
    ("lightslategray", 0x0077_8899),
    ("lightslategrey", 0x0077_8899),
    ("lightsteelblue", 0x00b0_c4de),
    ("lightyellow", 0x00ff_ffe0),
    ("lime", 0x0000_ff00),
    ("limegreen", 0x0032_cd32),
    ("linen", 0x00fa_f0e6),
    ("magenta", 0x00ff_00ff),
    ("maroon", 0x0080_0000),
    ("mediumaquamarine", 0x0066_cdaa),
    ("mediumblue", 0x0000_00cd),
    ("mediumorchid", 0x00ba_55d3),
    ("mediumpurple", 0x0093_70db),
    ("mediumseagreen", 0x003c_b371),
    ("mediumslateblue", 0x007b_68ee),
    ("mediumspringgreen", 0x0000_fa9a),
    ("mediumturquoise", 0x0048_d1cc),
    ("mediumvioletred", 0x00c7_1585),
    ("midnightblue", 0x0019_1970),
    ("mintcream", 0x00f5_fffa),
    ("mistyrose", 0x00ff_e4e1),
    ("moccasin", 0x00ff_e4b5),
    ("navajowhite", 0x00ff_dead),
    ("navy", 0x0000_0080),
    ("oldlace", 0x00fd_f5e6),
    ("olive", 0x0080_8000),
    ("olivedrab", 0x006b_8e23),
    ("orange", 0x00ff_a500),
    ("orangered", 0x00ff_4500),
    ("orchid", 0x00da_70d6),
    ("palegoldenrod", 0x00ee_e8aa),
    ("palegreen", 0x0098_fb98),
    ("paleturquoise", 0x00af_eeee),
    ("palevioletred", 0x00db_7093),
    ("papayawhip", 0x00ff_efd5),
    ("peachpuff", 0x00ff_dab9),
    ("peru", 0x00cd_853f),
    ("pink", 0x00ff_c0cb),
    ("plum", 0x00dd_a0dd),
    ("powderblue", 0x00b0_e0e6),
    ("purple", 0x0080_0080),
    ("rebeccapurple", 0x0066_3399),
    ("red", 0x00ff_0000),
    ("rosybrown", 0x00bc_8f8f),
    ("royalblue", 0x0041_69e1),
    ("saddlebrown", 0x008b_4513),
    ("salmon", 0x00fa_8072),
    ("sandybrown", 0x00f4_a460),
    ("seagreen", 0x002e_8b57),
    ("seashell", 0x00ff_f5ee),
    ("sienna", 0x00a0_522d),
    ("silver", 0x00c0_c0c0),
    ("skyblue", 0x0087_ceeb),
    ("slateblue", 0x006a_5acd),
    ("slategray", 0x0070_8090),
    ("slategrey", 0x0070_8090),
    ("snow", 0x00ff_fafa),
    ("springgreen", 0x0000_ff7f),
    ("steelblue", 0x0046_82b4),
    ("tan", 0x00d2_b48c),
    ("teal", 0x0000_8080),
    ("thistle", 0x00d8_bfd8),
    ("tomato", 0x00ff_6347),
    ("turquoise", 0x0040_e0d0),
    ("violet", 0x00ee_82ee),
    ("wheat", 0x00f5_deb3),
    ("white", 0x00ff_ffff),
    ("whitesmoke", 0x00f5_f5f5),
    ("yellow", 0x00ff_ff00),
    ("yellowgreen", 0x009a_cd32),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<[u8; 4]> {
        let Colour { red, green, blue, alpha } = Colour::parse(text)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        Some([red, green, blue, alpha].map(|part| (part * 255.0).round() as u8))
    }

    #[test]
    fn every_way_to_write_a_colour() {
        let orange = [255, 128, 0, 255];
        for text in [
            "#ff8000",
            "#FF8000ff",
            " rgb(255, 128, 0) ",
            "RGB(255 128 0)",
            "rgba(255,128,0,1)",
            "rgb(100% 128 0 / 100%)",
            "rgb(300, 128, -5)",
            "hsl(30.118, 100%, 50%)",
            "hsl(390.118deg 100 50)",
            "hsla(0.083661turn, 100%, 50%, 1)",
            "hsl(0.52566rad 100% 50%)",
            "hsl(33.4644grad 100% 50%)",
        ] {
            assert_eq!(bytes(text), Some(orange), "{text}");
        }
        assert_eq!(bytes("#f80c"), Some([255, 136, 0, 204]));
        assert_eq!(bytes("rgb(0 0 0 / .5)"), Some([0, 0, 0, 128]));
        assert_eq!(bytes("rgb(none 0 255)"), Some([0, 0, 255, 255]));
        assert_eq!(bytes("RebeccaPurple"), Some([0x66, 0x33, 0x99, 255]));
        assert_eq!(bytes("transparent"), Some([0, 0, 0, 0]));
        assert_eq!(bytes("hsl(240, 100%, 25%)"), Some([0, 0, 128, 255]));
        assert!(NAMES.is_sorted_by(|(one, _), (next, _)| one < next));
    }

    #[test]
    fn what_is_no_colour() {
        for text in [
            "",
            "#",
            "#ff",
            "#fffff",
            "#ggg",
            "#+ff",
            "#ffé",
            "blurple",
            "rgb(1,2)",
            "rgb(1,2,3,4,5)",
            "rgb(1 2 3 4)",
            "rgb(1,2 3)",
            "rgb (1,2,3)",
            "rgb(1,2,3",
            "rgb(1,2,3))",
            "rgb(1,2,3);",
            "rgb(100%,2,3)",
            "rgb(none,2,3)",
            "rgb(1deg 2 3)",
            "rgb(1. 2 3)",
            "rgb(nan 2 3)",
            "rgb(inf 2 3)",
            "rgb(1e999 2 3)",
            "hsl(1%, 2%, 3%)",
            "hsl(1, 2, 3)",
            "hsl(1, 2%)",
            "url(x)",
            "var(--x)",
            "currentcolor",
            "red; background: url(//evil.example)",
        ] {
            assert_eq!(Colour::parse(text), None, "{text}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        let ratio = |text, ground| contrast(Colour::parse(text).unwrap(), Colour::parse(ground).unwrap());
        let near = |one: f64, other: f64| (one - other).abs() < 0.005;
        assert!(near(ratio("black", "white"), 21.0) && near(ratio("#fff", "#fff"), 1.0));
        // Well-known borderline greys on white.
        assert!(near(ratio("#767676", "white"), 4.54) && near(ratio("#777777", "white"), 4.48));
        assert!(near(ratio("#ffffff", "#3854d8"), 6.13), "{}", ratio("#ffffff", "#3854d8"));
        assert!(near(ratio("rgb(0 0 0 / 0)", "white"), 1.0), "text that lets everything through");
    }
}
