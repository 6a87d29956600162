//! Headers and values that are secrets: read from a request, checked, sealed, and shown by their
//! names alone.

use std::collections::BTreeMap;

use parlance_domain::{Error, FieldErrors, Result};
use parlance_outbound::header::{HeaderName, HeaderValue};
use parlance_storage::secrets::{MasterKey, Place};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Entries at most.
const MAX_ENTRIES: usize = 50;
/// Bytes of all names and values.
const MAX_BYTES: usize = 32 << 10;
/// What the client of outgoing requests sets itself: they decide where a request goes and where it
/// ends.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "expect",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names with their values; `None` is a value that is stored already. Has no `Debug`.
pub type SecretDraft = Vec<(String, Option<SecretString>)>;

/// Names with their values, opened. Has no `Debug`.
pub struct Secrets(BTreeMap<String, SecretString>);

/// What the names stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Headers of a request.
    Headers,
    /// Values of an environment.
    Environment,
}

/// Reads an object of names and texts, the same as JSON text, or a list of objects with `key` (or
/// `name`) and `value`. Null is an empty one; a null value is one that is stored already.
pub fn read(field: &str, value: &Value, form: Form, errors: &mut FieldErrors) -> SecretDraft {
    let Some(draft) = entries(value) else {
        errors.add(field, "Expected an object of names and texts.");
        return Vec::new();
    };
    check(field, &draft, form, errors);
    draft
}

fn entries(value: &Value) -> Option<SecretDraft> {
    let secret = |value: &Value| match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(SecretString::from(text.clone()))),
        _ => None,
    };
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::String(text) => {
            let inner: Value = serde_json::from_str(text).ok().filter(Value::is_object)?;
            entries(&inner)
        }
        Value::Object(members) => members.iter().map(|(name, value)| Some((name.clone(), secret(value)?))).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let name = item.get("key").or_else(|| item.get("name"))?.as_str()?;
                Some((name.to_owned(), secret(item.get("value").unwrap_or(&Value::Null))?))
            })
            .collect(),
        Value::Bool(_) | Value::Number(_) => None,
    }
}

fn check(field: &str, draft: &SecretDraft, form: Form, errors: &mut FieldErrors) {
    if draft.len() > MAX_ENTRIES {
        errors.add(field, format!("At most {MAX_ENTRIES} entries."));
        return;
    }
    let mut bytes = 0;
    for (position, (name, value)) in draft.iter().enumerate() {
        bytes += name.len() + value.as_ref().map_or(0, |value| value.expose_secret().len());
        let is_good_name = match form {
            Form::Headers => HeaderName::from_bytes(name.as_bytes()).is_ok(),
            Form::Environment => is_variable(name),
        };
        // What is said never repeats a value, and a name only when it is one.
        if !is_good_name {
            errors.add(field, "One of the names is not valid.");
        } else if form == Form::Headers && OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            errors.add(field, format!("{name} cannot be set."));
        } else if draft[..position].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            errors.add(field, format!("{name} is given twice."));
        } else if value
            .as_ref()
            .is_some_and(|value| form == Form::Headers && HeaderValue::from_str(value.expose_secret()).is_err())
        {
            errors.add(field, format!("The value of {name} cannot be sent in a header."));
        }
    }
    if bytes > MAX_BYTES {
        errors.add(field, format!("Names and values are more than {MAX_BYTES} bytes."));
    }
}

fn is_variable(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Secrets {
    /// No secrets.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Opens what was sealed for `place`; nothing sealed is no secrets.
    pub fn open(key: &MasterKey, place: &Place<'_>, sealed: Option<&[u8]>) -> Result<Self> {
        let Some(sealed) = sealed else { return Ok(Self::none()) };
        let text = key.open(place, sealed)?;
        let members: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|_unreadable| Error::bug("sealed headers are no object"))?;
        let secrets = members.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, SecretString::from(text))),
            _ => None,
        });
        Ok(Self(secrets.collect()))
    }

    /// The draft, with the stored values where it has none. Gives the names that have no value at all
    /// as well.
    pub fn merged(mut self, draft: SecretDraft) -> (Self, Vec<String>) {
        let mut merged = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, value) in draft {
            match value.or_else(|| self.0.remove(&name)) {
                Some(value) => {
                    merged.insert(name, value);
                }
                None => missing.push(name),
            }
        }
        (Self(merged), missing)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seals them for `place`.
    pub fn seal(&self, key: &MasterKey, place: &Place<'_>) -> Result<Vec<u8>> {
        let exposed: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        let text = serde_json::to_vec(&exposed).map_err(|error| Error::internal("sealing headers", error))?;
        key.seal(place, &Zeroizing::new(text))
    }

    /// Their names as a JSON list.
    pub fn names(&self) -> String {
        Value::from(self.0.keys().map(String::as_str).collect::<Vec<_>>()).to_string()
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(value: &Value, form: Form) -> Vec<String> {
        let mut errors = FieldErrors::default();
        read("headers", value, form, &mut errors);
        errors.iter().flat_map(|(_, messages)| messages.to_vec()).collect()
    }

    #[test]
    fn headers_are_read_in_three_forms() {
        let expected = [("Authorization", Some("Bearer x")), ("X-Key", None)];
        for value in [
            json!({"Authorization": "Bearer x", "X-Key": null}),
            json!("{\"Authorization\": \"Bearer x\", \"X-Key\": null}"),
            json!([{"key": "Authorization", "value": "Bearer x"}, {"name": "X-Key"}]),
        ] {
            let mut errors = FieldErrors::default();
            let draft = read("headers", &value, Form::Headers, &mut errors);
            let plain: Vec<_> = draft
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_ref().map(ExposeSecret::expose_secret)))
                .collect();
            assert_eq!((plain, errors.finish().is_ok()), (expected.to_vec(), true), "{value}");
        }
        for nothing in [json!(null), json!(""), json!({}), json!([])] {
            assert_eq!(wrong(&nothing, Form::Headers), Vec::<String>::new());
        }
    }

    #[test]
    fn what_is_no_header_is_refused_without_repeating_its_value() {
        for (value, said) in [
            (json!(5), "Expected an object of names and texts."),
            (json!({"a": {"canary": 1}}), "Expected an object of names and texts."),
            (json!("canary"), "Expected an object of names and texts."),
            (json!({"a b": "canary"}), "One of the names is not valid."),
            (json!({"": "canary"}), "One of the names is not valid."),
            (json!({"Host": "canary"}), "Host cannot be set."),
            (json!({"transfer-encoding": "canary"}), "transfer-encoding cannot be set."),
            (json!({"x-a": "1", "X-A": "canary"}), "X-A is given twice."),
            (json!({"x-a": "canary\r\nHost: b"}), "The value of x-a cannot be sent in a header."),
            (json!({"x-a": "y".repeat(MAX_BYTES)}), "Names and values are more than 32768 bytes."),
        ] {
            assert_eq!(wrong(&value, Form::Headers), [said]);
        }
        let many: Map<String, Value> = (0..51).map(|number| (format!("x-{number}"), json!("1"))).collect();
        assert_eq!(wrong(&Value::Object(many), Form::Headers), ["At most 50 entries."]);
        assert_eq!(wrong(&json!({"A_1": "x\ny", "_b": "", "host": "1"}), Form::Environment), Vec::<String>::new());
        assert_eq!(wrong(&json!({"1A": "x"}), Form::Environment), ["One of the names is not valid."]);
    }

    #[test]
    fn stored_values_stay_where_none_is_given() {
        let stored = Secrets([("a", "1"), ("b", "2")].map(|(name, value)| (name.into(), value.into())).into());
        let draft = vec![("b".into(), None), ("c".into(), Some("3".into())), ("d".into(), None)];
        let (merged, missing) = stored.merged(draft);
        assert_eq!(merged.names(), r#"["b","c"]"#);
        assert_eq!(merged.iter().map(|(_, value)| value.expose_secret()).collect::<Vec<_>>(), ["2", "3"]);
        assert_eq!(missing, ["d"]);
    }
}
