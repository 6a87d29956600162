//! The fields of a web chat: as they are asked for, and as they are shown.

use parlance_domain::{FieldErrors, Result, Scopes};
use parlance_service::sign_auth::SignAuth;
use parlance_service::web_chat_settings::{FlagChanges, Flags, Picture, SettingsChanges};
use parlance_service::web_chat_theme::{Theme, ThemeChanges};
use parlance_service::web_chats::{DomainView, WebChatDraft, WebChatView};
use parlance_service::{App, domains};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::{Patch, Reference, patch};

macro_rules! theme {
    ($($(#[$about:meta])* $member:ident: $type:ty;)*) => {
        /// Colours of a page. Absent ones stay as they are, or take their defaults.
        #[derive(Debug, Default, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct ThemeBody {
            $($(#[$about])* $member: Option<$type>,)*
        }

        impl From<ThemeBody> for ThemeChanges {
            fn from(body: ThemeBody) -> Self {
                Self { $($member: body.$member,)* }
            }
        }

        /// Colours of a page.
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct ThemeOut {
            $($(#[$about])* $member: $type,)*
        }

        impl From<Theme> for ThemeOut {
            fn from(theme: Theme) -> Self {
                Self { $($member: theme.$member,)* }
            }
        }
    };
}

theme! {
    /// A CSS colour (`#rrggbb`, `rgb()`, `hsl()` or a name) of at most 31 characters, as all of these.
    primary_color: String;
    navbar_text_color: String;
    /// Kept for older clients.
    dialog_color: String;
    conversation_background_color: String;
    chatbot_message_text_color: String;
    user_message_text_color: String;
    chatbot_message_background_color: String;
    user_message_background_color: String;
    chatbot_message_background_shadow_enabled: bool;
    user_message_background_shadow_enabled: bool;
    chatbot_message_gradient_enabled: bool;
    user_message_gradient_enabled: bool;
}

/// A domain, as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DomainBody {
    domain: String,
}

macro_rules! web_chat {
    ($($(#[$about:meta])* $flag:ident;)*) => {
        /// A web chat, as it is asked for. Absent fields stay as they are, or take their defaults.
        #[derive(Debug, Default, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct WebChatBody {
            /// At most 255 characters; the chatbot's for a new one.
            name: Option<String>,
            /// The chatbot that answers. May be left out where there is exactly one.
            #[schema(value_type = Option<String>)]
            chatbot: Option<Reference>,
            /// `web`, or `admin` for use within the organisation: then only identified visitors get in.
            access_type: Option<String>,
            is_active: Option<bool>,
            /// Key or id of an upload, one of our own file links, or an https address, as of all pictures.
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            avatar: Patch<String>,
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            logo: Patch<String>,
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            cover: Patch<String>,
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            powered_by_logo: Patch<String>,
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            button_icon: Patch<String>,
            description: Option<String>,
            /// At most 255 characters; empty for none.
            back_url: Option<String>,
            /// Required, except in PATCH.
            theme: Option<ThemeBody>,
            /// Required, except in PATCH.
            dark_theme: Option<ThemeBody>,
            /// Shown as `displayGreeting`.
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<String>)]
            greeting: Patch<String>,
            /// Shown as `displayConversationStarters`.
            conversation_starters: Option<Vec<String>>,
            /// `full`, `compact` or `hidden`.
            tool_display_mode: Option<String>,
            /// Older form of `toolDisplayMode`, which wins: false is `hidden`.
            enable_display_tool_results: Option<bool>,
            /// Minutes, 3 to 60.
            conversation_timer_duration: Option<i64>,
            /// `light`, `dark` or `system`.
            default_theme_mode: Option<String>,
            /// Origins of other sites that may open visitor sessions, such as `https://www.example.com`.
            allowed_origins: Option<Vec<String>>,
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<DomainBody>)]
            custom_domain: Patch<DomainBody>,
            /// How visitors sign in: `signParams` of `keycloak`, `line` or `ad`.
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<Object>)]
            sign_auth: Patch<Value>,
            /// Replies to visitors per day; null follows the server's setting.
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<i64>)]
            daily_reply_limit: Patch<i64>,
            /// Tokens of models for visitors per day; null follows the server's setting.
            #[serde(default, deserialize_with = "patch")]
            #[schema(value_type = Option<i64>)]
            daily_token_limit: Patch<i64>,
            $($(#[$about])* $flag: Option<bool>,)*
        }

        impl WebChatBody {
            fn flags(&self) -> FlagChanges {
                FlagChanges { $($flag: self.$flag,)* }
            }
        }

        /// What a web chat offers.
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct FlagsOut {
            $($(#[$about])* $flag: bool,)*
        }

        impl From<Flags> for FlagsOut {
            fn from(flags: Flags) -> Self {
                Self { $($flag: flags.$flag,)* }
            }
        }
    };
}

web_chat! {
    enable_file_upload;
    enable_display_citations;
    enable_display_thinking;
    enable_user_thinking_control;
    enable_display_query_metadata;
    enable_share_conversation;
    enable_location;
    enable_show_powered_by;
    /// Whether visitors get in without proof of who they are.
    enable_anonymous;
    enable_display_previous_conversation;
    enable_display_conversation_history;
    enable_conversation_timer;
    enable_auto_new_conversation_on_timeout;
    enable_theme_mode_toggle;
    enable_display_font_size_switch;
    enable_download_citations;
    enable_display_chatbot_avatar;
    enable_display_chatbot_name;
    /// Whether this web chat may use the voice agent.
    enable_voice_agent;
}

impl WebChatBody {
    /// What is asked for. A new web chat and a replaced one need both themes.
    pub(crate) fn draft(self, needs_themes: bool, scopes: Scopes) -> Result<WebChatDraft> {
        let mut errors = FieldErrors::default();
        for (field, theme) in [("theme", &self.theme), ("darkTheme", &self.dark_theme)] {
            if needs_themes && theme.is_none() {
                errors.add(field, "This field is required.");
            }
        }
        errors.finish()?;
        let flags = self.flags();
        let pictures = [
            ("avatar", self.avatar),
            ("logo", self.logo),
            ("cover", self.cover),
            ("poweredByLogo", self.powered_by_logo),
            ("buttonIcon", self.button_icon),
        ];
        Ok(WebChatDraft {
            name: self.name,
            chatbot: self.chatbot.map(|chatbot| chatbot.require("chatbot")).transpose()?,
            access_type: self.access_type,
            is_active: self.is_active,
            sign_auth: self.sign_auth,
            custom_domain: self.custom_domain.map(|domain| domain.map(|domain| domain.domain)),
            daily_reply_limit: self.daily_reply_limit,
            daily_token_limit: self.daily_token_limit,
            pictures: pictures.into_iter().filter_map(|(name, picture)| Some((name, picture?))).collect(),
            settings: SettingsChanges {
                description: self.description,
                back_url: self.back_url,
                greeting: self.greeting,
                conversation_starters: self.conversation_starters,
                tool_display_mode: self.tool_display_mode,
                enable_display_tool_results: self.enable_display_tool_results,
                conversation_timer_duration: self.conversation_timer_duration,
                default_theme_mode: self.default_theme_mode,
                theme: self.theme.map(Into::into),
                dark_theme: self.dark_theme.map(Into::into),
                allowed_origins: self.allowed_origins,
                flags,
            },
            scopes,
        })
    }
}

/// What anybody may know of a web chat: what its page needs to be drawn.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicWebChat {
    id: String,
    name: String,
    avatar: Option<String>,
    logo: Option<String>,
    description: String,
    cover: Option<String>,
    back_url: String,
    /// When false, no visitor gets in; the page may say so.
    is_active: bool,
    enable_speech: bool,
    display_greeting: Option<String>,
    display_conversation_starters: Vec<String>,
    theme: ThemeOut,
    dark_theme: ThemeOut,
    tool_display_mode: String,
    /// Whether `toolDisplayMode` is not `hidden`; for older clients.
    enable_display_tool_results: bool,
    powered_by_logo: Option<String>,
    conversation_timer_duration: i64,
    default_theme_mode: String,
    button_icon: Option<String>,
    access_type: String,
    #[serde(flatten)]
    flags: FlagsOut,
}

/// The inbox of a web chat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxOut {
    id: String,
    name: String,
    /// How visitors sign in: `{id, signSource, signParams}`.
    #[schema(value_type = Option<Object>)]
    sign_auth: Option<SignAuth>,
}

/// A domain.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DomainOut {
    id: String,
    domain: String,
    /// `pending`, `verified` or `failed`.
    status: String,
    /// Records of which one proves the domain.
    dns_records: Vec<DnsRecordOut>,
    /// What the last check has missed.
    failure: Option<String>,
}

/// A record to put into DNS.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DnsRecordOut {
    /// `CNAME` or `TXT`.
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    value: String,
}

fn domain_out(app: &App, domain: DomainView) -> DomainOut {
    let records = domains::wanted_records(&app.settings.domains, &domain.domain, &domain.token);
    DomainOut {
        id: domain.id.to_string(),
        domain: domain.domain,
        status: domain.status,
        dns_records: records.into_iter().map(|(kind, name, value)| DnsRecordOut { kind, name, value }).collect(),
        failure: domain.failure,
    }
}

/// Text that is hard to read: its contrast is below 4.5, that of WCAG 2 level AA.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ThemeWarningOut {
    /// `theme` or `darkTheme`.
    theme: &'static str,
    /// The member with the colour of the text.
    text: &'static str,
    /// The member with the colour behind it.
    background: &'static str,
    /// From 1 to 21.
    ratio: f64,
    /// 4.5.
    minimum: f64,
}

/// A web chat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebChatOut {
    #[serde(flatten)]
    public: PublicWebChat,
    /// Id of the chatbot that answers.
    chatbot: String,
    inbox: Option<InboxOut>,
    allowed_origins: Vec<String>,
    custom_domain: Option<DomainOut>,
    daily_reply_limit: Option<i64>,
    daily_token_limit: Option<i64>,
    theme_warnings: Vec<ThemeWarningOut>,
    created_at: String,
    updated_at: String,
}

fn picture(app: &App, view: &WebChatView, picture: Option<&Picture>) -> Option<String> {
    match picture? {
        Picture::Web(address) => Some(address.clone()),
        Picture::Own { blob_key, filename } => app.links.file_url(view.tenant, blob_key, filename, app.now()).ok(),
    }
}

/// What anybody may know.
pub(crate) fn public(app: &App, view: &WebChatView) -> PublicWebChat {
    let settings = view.settings.clone();
    let pictures = &view.settings.pictures;
    PublicWebChat {
        id: view.web_chat.id.to_string(),
        name: view.web_chat.name.clone(),
        avatar: picture(app, view, pictures.avatar.as_ref()),
        logo: picture(app, view, pictures.logo.as_ref()),
        cover: picture(app, view, pictures.cover.as_ref()),
        powered_by_logo: picture(app, view, pictures.powered_by_logo.as_ref()),
        button_icon: picture(app, view, pictures.button_icon.as_ref()),
        description: settings.description,
        back_url: settings.back_url,
        is_active: view.web_chat.is_active,
        enable_speech: false,
        display_greeting: settings.greeting,
        display_conversation_starters: settings.conversation_starters,
        theme: settings.theme.into(),
        dark_theme: settings.dark_theme.into(),
        enable_display_tool_results: settings.tool_display_mode != "hidden",
        tool_display_mode: settings.tool_display_mode,
        conversation_timer_duration: settings.conversation_timer_duration,
        default_theme_mode: settings.default_theme_mode,
        access_type: view.web_chat.access_type.clone(),
        flags: settings.flags.into(),
    }
}

/// What the organisation knows.
pub(crate) fn out(app: &App, view: WebChatView) -> WebChatOut {
    let public = public(app, &view);
    let theme_warnings = view.settings.theme_warnings().into_iter().map(|warning| ThemeWarningOut {
        theme: warning.theme,
        text: warning.text,
        background: warning.background,
        ratio: warning.ratio,
        minimum: warning.minimum,
    });
    let WebChatView { web_chat, settings, inbox, sign_auth, custom_domain, .. } = view;
    WebChatOut {
        public,
        chatbot: web_chat.chatbot_id.to_string(),
        inbox: inbox.map(|(id, name)| InboxOut { id: id.to_string(), name, sign_auth }),
        allowed_origins: settings.allowed_origins,
        custom_domain: custom_domain.map(|domain| domain_out(app, domain)),
        daily_reply_limit: web_chat.daily_reply_limit,
        daily_token_limit: web_chat.daily_token_limit,
        theme_warnings: theme_warnings.collect(),
        created_at: web_chat.created_at.to_string(),
        updated_at: web_chat.updated_at.to_string(),
    }
}
