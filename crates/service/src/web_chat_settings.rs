//! How a web chat looks and what it offers: kept as one JSON object, typed here.

use parlance_domain::FieldErrors;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::css_colour::Colour;
use crate::web_chat_theme::{Theme, ThemeChanges, ThemeWarning};

/// Characters of the address of a page.
const MAX_BACK_URL: usize = 255;
/// Characters of a description.
const MAX_DESCRIPTION: usize = 2000;
/// Characters of a greeting.
const MAX_GREETING: usize = 5000;
/// Questions that are offered at the beginning.
const MAX_STARTERS: usize = 20;
/// Characters of one of them.
const MAX_STARTER: usize = 500;
/// Origins that a web chat may be used from.
const MAX_ORIGINS: usize = 50;
/// Characters of an origin.
const MAX_ORIGIN: usize = 255;

/// The modes that tools can be shown in.
const TOOL_DISPLAY_MODES: [&str; 3] = ["full", "compact", "hidden"];
/// The modes that a page can begin in.
const THEME_MODES: [&str; 3] = ["light", "dark", "system"];

macro_rules! flags {
    ($($flag:ident = $default:literal;)*) => {
        /// What a web chat offers. The names are those of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct Flags {
            $(#[doc = concat!("`", stringify!($flag), "`, ", stringify!($default), " unless written.")] pub $flag: bool,)*
        }

        impl Default for Flags {
            fn default() -> Self {
                Self { $($flag: $default,)* }
            }
        }

        /// Changes of [`Flags`]; `None` leaves one as it is.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct FlagChanges {
            $(#[doc = concat!("See [`Flags::", stringify!($flag), "`].")] pub $flag: Option<bool>,)*
        }

        impl Flags {
            fn change(&mut self, changes: &FlagChanges) {
                $(self.$flag = changes.$flag.unwrap_or(self.$flag);)*
            }
        }
    };
}

flags! {
    enable_file_upload = true;
    enable_display_citations = true;
    enable_display_thinking = false;
    enable_user_thinking_control = false;
    enable_display_query_metadata = false;
    enable_share_conversation = false;
    enable_location = false;
    enable_show_powered_by = true;
    enable_anonymous = true;
    enable_display_previous_conversation = false;
    enable_display_conversation_history = false;
    enable_conversation_timer = false;
    enable_auto_new_conversation_on_timeout = false;
    enable_theme_mode_toggle = false;
    enable_display_font_size_switch = false;
    enable_download_citations = false;
    enable_display_chatbot_avatar = true;
    enable_display_chatbot_name = true;
    enable_voice_agent = false;
}

/// A picture of a web chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Picture {
    /// An upload of the same organisation.
    Own {
        /// Where its bytes are.
        blob_key: String,
        /// Its name.
        filename: String,
    },
    /// Somewhere on the web. Never fetched by the server.
    Web(String),
}

/// The pictures of a web chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pictures {
    /// The assistant's face.
    pub avatar: Option<Picture>,
    /// The owner's sign.
    pub logo: Option<Picture>,
    /// Shown above the conversation.
    pub cover: Option<Picture>,
    /// Shown beside "powered by".
    pub powered_by_logo: Option<Picture>,
    /// Shown on the button that opens the chat.
    pub button_icon: Option<Picture>,
}

impl Pictures {
    /// All of them, by their names in the API.
    pub fn all_mut(&mut self) -> [(&'static str, &mut Option<Picture>); 5] {
        [
            ("avatar", &mut self.avatar),
            ("logo", &mut self.logo),
            ("cover", &mut self.cover),
            ("poweredByLogo", &mut self.powered_by_logo),
            ("buttonIcon", &mut self.button_icon),
        ]
    }

    /// Keys of the uploads among them, each once.
    pub fn blob_keys(&self) -> Vec<String> {
        let all = [&self.avatar, &self.logo, &self.cover, &self.powered_by_logo, &self.button_icon];
        let mut keys: Vec<String> = all
            .into_iter()
            .filter_map(|picture| match picture {
                Some(Picture::Own { blob_key, .. }) => Some(blob_key.clone()),
                _ => None,
            })
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// Everything about a web chat that only concerns its page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebChatSettings {
    /// Shown to people.
    pub description: String,
    /// Where the page's way back leads; empty for nowhere.
    pub back_url: String,
    /// The first thing a visitor reads.
    pub greeting: Option<String>,
    /// Questions that are offered at the beginning.
    pub conversation_starters: Vec<String>,
    /// `full`, `compact` or `hidden`.
    pub tool_display_mode: String,
    /// Minutes without a message after which a conversation is over, 3 to 60.
    pub conversation_timer_duration: i64,
    /// `light`, `dark` or `system`.
    pub default_theme_mode: String,
    /// By day.
    pub theme: Theme,
    /// At night.
    pub dark_theme: Theme,
    /// Pictures.
    pub pictures: Pictures,
    /// Origins of pages, besides the product's own, that may open sessions and show the page.
    pub allowed_origins: Vec<String>,
    /// Switches.
    pub flags: Flags,
}

impl Default for WebChatSettings {
    fn default() -> Self {
        Self {
            description: String::new(),
            back_url: String::new(),
            greeting: None,
            conversation_starters: Vec::new(),
            tool_display_mode: "full".to_owned(),
            conversation_timer_duration: 10,
            default_theme_mode: "light".to_owned(),
            theme: Theme::light(),
            dark_theme: Theme::dark(),
            pictures: Pictures::default(),
            allowed_origins: Vec::new(),
            flags: Flags::default(),
        }
    }
}

/// Changes of [`WebChatSettings`], pictures aside; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct SettingsChanges {
    /// See [`WebChatSettings`].
    pub description: Option<String>,
    /// See [`WebChatSettings`].
    pub back_url: Option<String>,
    /// `Some(None)` clears it.
    pub greeting: Option<Option<String>>,
    /// See [`WebChatSettings`].
    pub conversation_starters: Option<Vec<String>>,
    /// See [`WebChatSettings`].
    pub tool_display_mode: Option<String>,
    /// The older switch: false hides tools, true shows hidden ones again. `tool_display_mode` wins.
    pub enable_display_tool_results: Option<bool>,
    /// See [`WebChatSettings`].
    pub conversation_timer_duration: Option<i64>,
    /// See [`WebChatSettings`].
    pub default_theme_mode: Option<String>,
    /// See [`WebChatSettings`].
    pub theme: Option<ThemeChanges>,
    /// See [`WebChatSettings`].
    pub dark_theme: Option<ThemeChanges>,
    /// See [`WebChatSettings`].
    pub allowed_origins: Option<Vec<String>>,
    /// See [`Flags`].
    pub flags: FlagChanges,
}

impl WebChatSettings {
    /// Reads what is stored. What a newer or older release wrote beside it is left out.
    pub fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// As it is stored.
    pub fn json(&self) -> parlance_domain::Result<String> {
        serde_json::to_string(self).map_err(|error| parlance_domain::Error::internal("storing a web chat", error))
    }

    /// Makes the changes; what is wrong with them is added to `errors`.
    pub fn change(&mut self, changes: &SettingsChanges, errors: &mut FieldErrors) {
        self.change_texts(changes, errors);
        if let Some(results) = changes.enable_display_tool_results
            && results != (self.tool_display_mode != "hidden")
        {
            (if results { "full" } else { "hidden" }).clone_into(&mut self.tool_display_mode);
        }
        if let Some(mode) = &changes.tool_display_mode {
            check_choice("toolDisplayMode", mode, &TOOL_DISPLAY_MODES, errors);
            self.tool_display_mode.clone_from(mode);
        }
        if let Some(mode) = &changes.default_theme_mode {
            check_choice("defaultThemeMode", mode, &THEME_MODES, errors);
            self.default_theme_mode.clone_from(mode);
        }
        if let Some(minutes) = changes.conversation_timer_duration {
            if !(3..=60).contains(&minutes) {
                errors.add("conversationTimerDuration", "Ensure this value is between 3 and 60.");
            }
            self.conversation_timer_duration = minutes;
        }
        if let Some(theme) = &changes.theme {
            self.theme.change(theme, "theme", errors);
        }
        if let Some(theme) = &changes.dark_theme {
            self.dark_theme.change(theme, "darkTheme", errors);
        }
        if let Some(origins) = &changes.allowed_origins {
            self.allowed_origins = read_origins(origins, errors);
        }
        self.flags.change(&changes.flags);
    }

    fn change_texts(&mut self, changes: &SettingsChanges, errors: &mut FieldErrors) {
        if let Some(description) = &changes.description {
            check_length("description", description, MAX_DESCRIPTION, errors);
            self.description.clone_from(description);
        }
        if let Some(address) = &changes.back_url {
            let address = address.trim();
            if address.chars().count() > MAX_BACK_URL {
                errors.add("backUrl", format!("Ensure this field has no more than {MAX_BACK_URL} characters."));
            } else if !address.is_empty() && !is_web_address(address) {
                errors.add("backUrl", "Enter a valid URL.");
            }
            address.clone_into(&mut self.back_url);
        }
        if let Some(greeting) = &changes.greeting {
            if let Some(greeting) = greeting {
                check_length("greeting", greeting, MAX_GREETING, errors);
            }
            self.greeting = greeting.clone().filter(|greeting| !greeting.trim().is_empty());
        }
        if let Some(starters) = &changes.conversation_starters {
            if starters.len() > MAX_STARTERS {
                errors.add("conversationStarters", format!("At most {MAX_STARTERS} starters."));
            }
            for (position, starter) in starters.iter().enumerate().take(MAX_STARTERS) {
                let path = format!("conversationStarters.{position}");
                if starter.trim().is_empty() {
                    errors.add(path, "This field may not be blank.");
                } else {
                    check_length(&path, starter, MAX_STARTER, errors);
                }
            }
            self.conversation_starters.clone_from(starters);
        }
    }

    /// Texts that are hard to read on their grounds.
    pub fn theme_warnings(&self) -> Vec<ThemeWarning> {
        let by_day = self.theme.warnings("theme", Colour::WHITE);
        by_day.into_iter().chain(self.dark_theme.warnings("darkTheme", Colour::BLACK)).collect()
    }
}

fn check_length(path: &str, text: &str, limit: usize, errors: &mut FieldErrors) {
    if text.chars().count() > limit {
        errors.add(path, format!("Ensure this field has no more than {limit} characters."));
    }
}

pub(crate) fn check_choice(path: &str, value: &str, choices: &[&str], errors: &mut FieldErrors) {
    if !choices.contains(&value) {
        errors.add(path, format!("\"{value}\" is not a valid choice: use {}.", choices.join(", ")));
    }
}

/// Whether this is the address of a page.
pub(crate) fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

/// Origins as browsers write them, each once.
fn read_origins(origins: &[String], errors: &mut FieldErrors) -> Vec<String> {
    if origins.len() > MAX_ORIGINS {
        errors.add("allowedOrigins", format!("At most {MAX_ORIGINS} origins."));
    }
    let mut read = Vec::new();
    for (position, text) in origins.iter().enumerate().take(MAX_ORIGINS) {
        match origin(text) {
            Some(origin) if read.contains(&origin) => {}
            Some(origin) => read.push(origin),
            None => errors.add(
                format!("allowedOrigins.{position}"),
                "Enter an origin such as https://www.example.com, without a path.",
            ),
        }
    }
    read
}

/// An origin in the form of the `Origin` header: scheme, host and a port that is not the scheme's own.
/// `None` for anything that is not exactly that, such as `null`, `*` or an address with a path.
pub fn origin(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_ORIGIN {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none() && !text.contains(['@', '*', '\\']);
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    (matches!(url.scheme(), "http" | "https") && is_bare && is_anonymous && has_host)
        .then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        for (text, expected) in [
            ("https://www.example.com", "https://www.example.com"),
            (" HTTPS://WWW.Example.com:443/ ", "https://www.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://例子.tw", "https://xn--fsqu00a.tw"),
        ] {
            assert_eq!(origin(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "null",
            "*",
            "",
            "www.example.com",
            "https://",
            "https://*.example.com",
            "https://example.com/path",
            "https://example.com?x",
            "https://user@example.com",
            "file:///etc",
            "ftp://example.com",
            "javascript:1",
            "https:\\\\example.com",
        ] {
            assert_eq!(origin(text), None, "{text}");
        }
    }

    #[test]
    fn the_defaults_can_be_read_and_kept() {
        let settings = WebChatSettings::default();
        assert_eq!(settings.theme_warnings(), []);
        assert_eq!(WebChatSettings::read("{}"), settings);
        assert_eq!(WebChatSettings::read(&settings.json().unwrap()), settings);
        let own = Picture::Own { blob_key: "a".into(), filename: "b".into() };
        let pictures =
            Pictures { avatar: Some(own), cover: Some(Picture::Web("https://x".into())), ..Pictures::default() };
        let settings = WebChatSettings { pictures, ..settings };
        assert_eq!(WebChatSettings::read(&settings.json().unwrap()), settings);
        assert_eq!(settings.pictures.blob_keys(), ["a"]);
    }
}
