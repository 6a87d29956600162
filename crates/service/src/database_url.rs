//! The `databaseUrl` of an assistant: a connection string, which usually holds a password. It is kept
//! sealed and shown with `***` in place of what is secret; written back in that form, it stays what it is.
//!
//! In the settings of an assistant it is an object with the sealed text and with what is shown of it, so
//! that reading needs no key. Rows of earlier versions hold the plain text until they are written again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parlance_domain::kind::ChatbotId;
use parlance_domain::{Error, Result, Tenant};
use parlance_storage::chatbots::Chatbot;
use parlance_storage::secrets::{MasterKey, Place};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::Warnings;

/// Its name in the settings and in the API.
const FIELD: &str = "databaseUrl";
/// Stands for what is not shown.
const HIDDEN: &str = "***";
/// Characters at most.
const MAX: usize = 4096;
/// Parameters whose names have one of these in them are not shown.
const SECRET_WORDS: [&str; 8] = ["pass", "pwd", "secret", "token", "key", "auth", "cred", "sig"];

type Settings = Map<String, Value>;

/// Settings as they are stored, with what `given` changes of them and the connection string sealed.
///
/// # Errors
/// A connection string that is none, or that stands for one that is not stored.
pub(crate) fn merged(
    key: &MasterKey,
    tenant: Tenant,
    chatbot: &Chatbot,
    given: &Settings,
    warnings: &mut Warnings,
) -> Result<String> {
    let mut settings = read(&chatbot.settings);
    let stored = settings.remove(FIELD);
    if given.is_empty() && !matches!(stored, Some(Value::String(_))) {
        return Ok(chatbot.settings.clone());
    }
    settings.extend(given.iter().filter(|(name, _)| *name != FIELD).map(|(name, value)| (name.clone(), value.clone())));
    let value = match given.get(FIELD) {
        None => match stored {
            Some(Value::String(plain)) => Some(sealed(key, tenant, chatbot.id, &plain)?),
            stored => stored,
        },
        Some(Value::Null) => Some(Value::Null),
        Some(Value::String(text)) => {
            let stored = opened(key, tenant, chatbot.id, stored.as_ref())?;
            let whole = completed(text.trim(), &stored, warnings)?;
            Some(sealed(key, tenant, chatbot.id, &whole)?)
        }
        Some(_) => return Err(Error::field(FIELD, "Not a valid string.")),
    };
    settings.extend(value.map(|value| (FIELD.to_owned(), value)));
    Ok(Value::Object(settings).to_string())
}

/// Settings as they are shown.
pub(crate) fn shown(stored: &str) -> String {
    let mut settings = read(stored);
    let Some(value) = settings.get_mut(FIELD) else { return stored.to_owned() };
    *value = match value.take() {
        Value::String(plain) => Value::from(masked(&plain)),
        Value::Object(mut sealed) => sealed.remove("shown").unwrap_or_default(),
        other => other,
    };
    Value::Object(settings).to_string()
}

/// The settings of an assistant as another one may have them: what is sealed belongs to its row.
pub(crate) fn copied(key: &MasterKey, tenant: Tenant, chatbot: &Chatbot, to: ChatbotId) -> Result<String> {
    let mut settings = read(&chatbot.settings);
    if let Some(value) = settings.get_mut(FIELD)
        && !value.is_null()
    {
        let whole = opened(key, tenant, chatbot.id, Some(value))?;
        *value = sealed(key, tenant, to, &whole)?;
    }
    Ok(Value::Object(settings).to_string())
}

fn read(settings: &str) -> Settings {
    serde_json::from_str(settings).unwrap_or_default()
}

fn place(tenant: Tenant, row: &str) -> Place<'_> {
    Place { tenant, table: "chatbots", row, column: "settings.databaseUrl" }
}

fn sealed(key: &MasterKey, tenant: Tenant, id: ChatbotId, whole: &str) -> Result<Value> {
    if whole.is_empty() {
        return Ok(Value::from(""));
    }
    let row = id.to_string();
    let sealed = key.seal(&place(tenant, &row), whole.as_bytes())?;
    Ok(json!({"shown": masked(whole), "sealed": STANDARD.encode(sealed)}))
}

/// The whole text of what is stored; empty when that is none.
fn opened(key: &MasterKey, tenant: Tenant, id: ChatbotId, stored: Option<&Value>) -> Result<Zeroizing<String>> {
    let broken = || Error::bug("a sealed connection string is damaged");
    match stored {
        Some(Value::String(plain)) => Ok(Zeroizing::new(plain.clone())),
        Some(Value::Object(object)) => {
            let sealed = object.get("sealed").and_then(Value::as_str).ok_or_else(broken)?;
            let sealed = STANDARD.decode(sealed).map_err(|_no_base64| broken())?;
            let row = id.to_string();
            let bytes = key.open(&place(tenant, &row), &sealed)?;
            let text = std::str::from_utf8(&bytes).map_err(|_no_text| broken())?;
            Ok(Zeroizing::new(text.to_owned()))
        }
        _ => Ok(Zeroizing::default()),
    }
}

/// A connection string of the usual form, taken apart.
#[derive(Clone, Copy)]
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    /// With the port, or several of these.
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

fn consists_of(text: &str, others: &str) -> bool {
    text.chars().all(|character| character.is_ascii_alphanumeric() || others.contains(character))
}

impl<'a> Parts<'a> {
    /// `None` for any doubt about where a secret begins or ends.
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (person, place) = match rest.rsplit_once('@') {
            Some((person, place)) => (Some(person), place),
            None => (None, rest),
        };
        let (user, password) = match person.map(|person| person.split_once(':').ok_or(person)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let (place, query) = match place.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (place, None),
        };
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        // A password with one of these may be the end of something else.
        let is_plain = password.is_none_or(|password| !password.contains(['/', '?', '#', ';', '=', ' ']))
            && user.is_none_or(|user| consists_of(user, "._-%+"))
            && consists_of(scheme, "+.-:")
            && consists_of(host, "._-:,[]")
            && consists_of(path, "/._-%+~")
            && query.is_none_or(|query| !query.contains(['#', '?', ' ']));
        is_plain.then_some(Self { scheme, user, password, host, path, query })
    }

    /// Where the secrets are good.
    fn login(&self) -> (&'a str, Option<&'a str>, &'a str) {
        (self.scheme, self.user, self.host)
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let pairs = self.query.into_iter().flat_map(|query| query.split('&'));
        pairs.map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value))))
    }

    /// The text with another password, and other values of parameters; a value of `None` leaves the
    /// parameter out.
    fn with<'b>(
        &self,
        password: Option<&str>,
        mut value_of: impl FnMut(&'a str, &'a str) -> Option<&'b str>,
    ) -> Zeroizing<String>
    where
        'a: 'b,
    {
        let mut text = Zeroizing::new(format!("{}://", self.scheme));
        if let Some(user) = self.user {
            text.push_str(user);
            if let Some(password) = password {
                text.push(':');
                text.push_str(password);
            }
            text.push('@');
        }
        text.push_str(self.host);
        text.push_str(self.path);
        let mut before = '?';
        for (name, value) in self.parameters() {
            let value = match value.map(|value| value_of(name, value)) {
                Some(None) => continue,
                Some(value) => value,
                None => None,
            };
            text.push(before);
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
            before = '&';
        }
        text
    }
}

/// What is shown of a connection string: nothing, where it is of no form that is known.
fn masked(whole: &str) -> String {
    if whole.is_empty() {
        return String::new();
    }
    let Some(parts) = Parts::of(whole) else { return HIDDEN.to_owned() };
    let shown = parts.with(parts.password.map(|_| HIDDEN), |name, value| {
        let name = name.to_ascii_lowercase();
        let is_secret = SECRET_WORDS.iter().any(|word| name.contains(word)) || !consists_of(value, "._-%+,:/");
        Some(if is_secret { HIDDEN } else { value })
    });
    shown.as_str().to_owned()
}

/// The connection string that is asked for, with the stored secrets where it has `***` for them.
fn completed(asked: &str, stored: &str, warnings: &mut Warnings) -> Result<Zeroizing<String>> {
    if asked.chars().count() > MAX {
        return Err(Error::field(FIELD, format!("Ensure this field has no more than {MAX} characters.")));
    }
    let asked_whole = || Zeroizing::new(asked.to_owned());
    if asked == HIDDEN && stored.is_empty() {
        return Err(Error::field(FIELD, "No URL is stored; enter the whole one."));
    }
    if asked == HIDDEN || (!stored.is_empty() && asked == masked(stored)) {
        return Ok(Zeroizing::new(stored.to_owned()));
    }
    let Some(parts) = Parts::of(asked) else { return Ok(asked_whole()) };
    let hides = parts.password == Some(HIDDEN) || parts.parameters().any(|(_, value)| value == Some(HIDDEN));
    if !hides {
        return Ok(asked_whole());
    }
    // Secrets belong to the server and the user that they were given for.
    let known = Parts::of(stored).filter(|known| known.login() == parts.login());
    let mut lost = false;
    let password = match parts.password {
        Some(HIDDEN) => known.and_then(|known| known.password),
        password => password,
    };
    lost |= parts.password.is_some() && password.is_none();
    let whole = parts.with(password, |name, value| {
        if value != HIDDEN {
            return Some(value);
        }
        let value = known.and_then(|known| known.parameters().find(|(other, _)| *other == name)?.1);
        lost |= value.is_none();
        value
    });
    if lost {
        warnings.add(format!("What was hidden in {FIELD} was removed: it is of another server or user."));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (whole, shown) in [
            ("", ""),
            ("postgres://reader:canary@db.example:5432/shop", "postgres://reader:***@db.example:5432/shop"),
            ("mysql://reader:can@ary@db.example/shop", "mysql://reader:***@db.example/shop"),
            (
                "postgresql+psycopg://db.example/shop?sslmode=require",
                "postgresql+psycopg://db.example/shop?sslmode=require",
            ),
            ("postgres://db/shop?user=a&password=canary&ssl", "postgres://db/shop?user=a&password=***&ssl"),
            ("postgres://:canary@db/shop", "postgres://:***@db/shop"),
            ("postgres://reader@db/shop", "postgres://reader@db/shop"),
            ("mongodb://a:canary@one:1,two:2/shop?x={canary}", "mongodb://a:***@one:1,two:2/shop?x=***"),
            // Where it is not clear what is what, nothing is shown.
            ("mysql://reader:can/ary@db/shop", "***"),
            ("mysql://reader:can#ary@db/shop", "***"),
            ("mysql://reader:canary@db/shop/@canary", "***"),
            ("jdbc:sqlserver://db:1433;user=sa;password=can@ary", "***"),
            ("postgres://db/shop?password=can@ary", "***"),
            ("Server=db;User Id=sa;Password=canary;", "***"),
            ("host=db password=canary", "***"),
            ("scott/canary@db", "***"),
        ] {
            assert_eq!(masked(whole), shown, "{whole}");
            assert!(!shown.contains("ary"));
        }
    }

    #[test]
    fn what_was_shown_stands_for_what_is_stored() {
        let stored = "postgres://reader:secret@db:5432/shop?password=x1&sslmode=require";
        for (asked, whole, is_lost) in [
            ("postgres://reader:***@db:5432/shop?password=***&sslmode=require", stored, false),
            ("***", stored, false),
            ("postgres://reader:***@db:5432/other", "postgres://reader:secret@db:5432/other", false),
            (
                "postgres://reader:new@db:5432/shop?password=***",
                "postgres://reader:new@db:5432/shop?password=x1",
                false,
            ),
            ("postgres://reader:***@evil:5432/shop?password=***", "postgres://reader@evil:5432/shop", true),
            ("postgres://writer:***@db:5432/shop", "postgres://writer@db:5432/shop", true),
            ("mysql://reader:***@db:5432/shop", "mysql://reader@db:5432/shop", true),
            ("postgres://reader:***@db:5432/shop?token=***&a=1", "postgres://reader:secret@db:5432/shop?a=1", true),
            ("postgres://other:word@there/x", "postgres://other:word@there/x", false),
            ("", "", false),
        ] {
            let mut warnings = Warnings::default();
            assert_eq!(completed(asked, stored, &mut warnings).unwrap().as_str(), whole, "{asked}");
            assert_eq!(!warnings.into_sentences().is_empty(), is_lost, "{asked}");
        }
        let mut warnings = Warnings::default();
        assert_eq!(completed("***", "host=db password=x", &mut warnings).unwrap().as_str(), "host=db password=x");
        assert!(matches!(completed("***", "", &mut warnings), Err(Error::Invalid(_))));
        assert!(matches!(completed(&"x".repeat(MAX + 1), "", &mut warnings), Err(Error::Invalid(_))));
    }
}
