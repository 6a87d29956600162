//! The colours of a web chat's page, and whether they can be read.

use parlance_domain::FieldErrors;
use serde::{Deserialize, Serialize};

use crate::css_colour::{Colour, contrast};

/// Characters of a colour.
const MAX_COLOUR: usize = 31;
/// Contrast that text of this size needs (WCAG 2, level AA).
const READABLE: f64 = 4.5;

macro_rules! theme {
    (colours { $($colour:ident = $light:literal, $dark:literal;)* } switches { $($switch:ident;)* }) => {
        /// The colours of a page, as CSS writes them, and how its messages are drawn.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct Theme {
            $(#[doc = concat!("`", stringify!($colour), "`, a CSS colour.")] pub $colour: String,)*
            $(#[doc = concat!("`", stringify!($switch), "`, off unless written.")] pub $switch: bool,)*
        }

        impl Theme {
            /// What a new page has by day.
            pub fn light() -> Self {
                Self { $($colour: $light.to_owned(),)* $($switch: false,)* }
            }

            /// What a new page has at night.
            pub fn dark() -> Self {
                Self { $($colour: $dark.to_owned(),)* $($switch: false,)* }
            }

            /// Makes the changes; what is wrong with them is added to `errors` below `path`.
            pub(crate) fn change(&mut self, changes: &ThemeChanges, path: &str, errors: &mut FieldErrors) {
                $(if let Some(colour) = &changes.$colour {
                    check_colour(colour, &format!("{path}.{}", camel_case(stringify!($colour))), errors);
                    colour.trim().clone_into(&mut self.$colour);
                })*
                $(self.$switch = changes.$switch.unwrap_or(self.$switch);)*
            }
        }

        /// Changes of a [`Theme`]; `None` leaves a value as it is.
        #[derive(Clone, Debug, Default)]
        pub struct ThemeChanges {
            $(#[doc = concat!("See [`Theme::", stringify!($colour), "`].")] pub $colour: Option<String>,)*
            $(#[doc = concat!("See [`Theme::", stringify!($switch), "`].")] pub $switch: Option<bool>,)*
        }
    };
}

theme! {
    colours {
        primary_color = "#3854d8", "#3854d8";
        navbar_text_color = "#ffffff", "#ffffff";
        dialog_color = "#ddeaf6", "#1f2937";
        conversation_background_color = "#ffffff", "#111827";
        chatbot_message_text_color = "#1f2937", "#f9fafb";
        user_message_text_color = "#ffffff", "#ffffff";
        chatbot_message_background_color = "#f3f4f6", "#1f2937";
        user_message_background_color = "#3854d8", "#3854d8";
    }
    switches {
        chatbot_message_background_shadow_enabled;
        user_message_background_shadow_enabled;
        chatbot_message_gradient_enabled;
        user_message_gradient_enabled;
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self::light()
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

fn check_colour(colour: &str, path: &str, errors: &mut FieldErrors) {
    if colour.chars().count() > MAX_COLOUR {
        errors.add(path, format!("Ensure this field has no more than {MAX_COLOUR} characters."));
    } else if Colour::parse(colour).is_none() {
        errors.add(path, "Enter a CSS colour: #rrggbb, rgb(), hsl() or a colour's name.");
    }
}

/// Text of a theme that is hard to read on its ground.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThemeWarning {
    /// `theme` or `darkTheme`.
    pub theme: &'static str,
    /// The member with the colour of the text.
    pub text: &'static str,
    /// The member with the colour behind it.
    pub background: &'static str,
    /// Contrast ratio of WCAG 2, from 1 to 21, cut to two decimals.
    pub ratio: f64,
    /// What it should be at least.
    pub minimum: f64,
}

impl Theme {
    /// Texts that are hard to read on their grounds. `name` is the theme's in the API, `page` what shines
    /// through colours that let something through.
    pub(crate) fn warnings(&self, name: &'static str, page: Colour) -> Vec<ThemeWarning> {
        // What was stored is a colour; if it were none, it would be seen as the page.
        let colour = |text: &str, ground: Colour| Colour::parse(text).map_or(ground, |colour| colour.over(ground));
        let conversation = colour(&self.conversation_background_color, page);
        let pairs = [
            ("navbarTextColor", &self.navbar_text_color, "primaryColor", &self.primary_color, page),
            (
                "chatbotMessageTextColor",
                &self.chatbot_message_text_color,
                "chatbotMessageBackgroundColor",
                &self.chatbot_message_background_color,
                conversation,
            ),
            (
                "userMessageTextColor",
                &self.user_message_text_color,
                "userMessageBackgroundColor",
                &self.user_message_background_color,
                conversation,
            ),
        ];
        let mut warnings = Vec::new();
        for (text, text_colour, background, background_colour, behind) in pairs {
            let ground = colour(background_colour, behind);
            let ratio = Colour::parse(text_colour).map_or(1.0, |text| contrast(text, ground));
            if ratio < READABLE {
                // Cut, not rounded: 4.499 must not be shown as the 4.5 that it misses.
                let ratio = (ratio * 100.0).floor() / 100.0;
                warnings.push(ThemeWarning { theme: name, text, background, ratio, minimum: READABLE });
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_pairs_are_named_with_their_ratio() {
        let mut theme = Theme::light();
        assert_eq!(theme.warnings("theme", Colour::WHITE), []);
        assert_eq!(Theme::dark().warnings("darkTheme", Colour::BLACK), []);
        let mut errors = FieldErrors::default();
        let changes = ThemeChanges {
            chatbot_message_text_color: Some("#777777".into()),
            chatbot_message_background_color: Some("rgb(255 255 255 / 0)".into()),
            user_message_text_color: Some("#767676".into()),
            user_message_background_color: Some("white".into()),
            ..ThemeChanges::default()
        };
        theme.change(&changes, "theme", &mut errors);
        errors.finish().unwrap();
        let warnings = theme.warnings("theme", Colour::WHITE);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!((warnings[0].theme, warnings[0].text), ("theme", "chatbotMessageTextColor"));
        assert!((warnings[0].ratio - 4.47).abs() < 0.011 && warnings[0].ratio < 4.5, "{warnings:?}");
    }

    #[test]
    fn names_are_those_of_the_api() {
        assert_eq!(camel_case("chatbot_message_text_color"), "chatbotMessageTextColor");
    }
}
