//! How visitors of an inbox sign in: kept with the inbox and shown, so that the page can begin it.

use parlance_domain::kind::SignAuthId;
use parlance_domain::{Error, FieldErrors, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::App;
use crate::web_chat_settings::is_web_address;

/// Characters of one parameter.
const MAX_PARAMETER: usize = 511;
/// Each way to sign in with its parameters.
const WAYS: [(&str, &[&str]); 3] =
    [("keycloak", &["url", "realm", "clientId"]), ("line", &["liffId"]), ("ad", &["saml"])];

/// A way to sign in, as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignAuth {
    /// Its id.
    pub id: SignAuthId,
    /// What kind it is.
    pub sign_source: SignSource,
    /// The parameters of that kind, under its name.
    pub sign_params: Map<String, Value>,
}

/// The kind of a way to sign in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignSource {
    /// Its id.
    pub id: Uuid,
    /// `keycloak`, `line` or `ad`.
    pub access_type: String,
}

impl SignAuth {
    /// What is stored, if it can be read.
    pub fn stored(json: Option<&str>) -> Option<Self> {
        serde_json::from_str(json?).ok()
    }

    /// Reads what is asked for, which replaces `known`. The kind may be left out where the parameters
    /// show it. Wrong members are named below `path`.
    pub fn read(app: &App, asked: &Value, known: Option<&Self>, path: &str) -> Result<Self> {
        let params = asked.get("signParams").and_then(Value::as_object).ok_or_else(|| required(path, "signParams"))?;
        let named = asked.pointer("/signSource/accessType").and_then(Value::as_str);
        let way = match named {
            Some(name) => WAYS.iter().find(|(way, _)| *way == name),
            None => WAYS.iter().find(|(way, _)| params.get(*way).is_some_and(Value::is_object)),
        };
        let (way, parameters) =
            way.ok_or_else(|| Error::field(format!("{path}.signSource.accessType"), "Use keycloak, line or ad."))?;
        let given = params.get(*way).and_then(Value::as_object);
        let given = given.ok_or_else(|| required(path, &format!("signParams.{way}")))?;
        let mut errors = FieldErrors::default();
        let mut kept = Map::new();
        for parameter in *parameters {
            let field = format!("{path}.signParams.{way}.{parameter}");
            let value = given.get(*parameter).and_then(Value::as_str).unwrap_or_default().trim();
            if value.is_empty() {
                errors.add(field, "This field is required.");
            } else if value.chars().count() > MAX_PARAMETER {
                errors.add(field, format!("Ensure this field has no more than {MAX_PARAMETER} characters."));
            } else if *parameter == "url" && !is_server(value) {
                errors.add(field, "Enter the address of a server.");
            } else {
                kept.insert((*parameter).to_owned(), Value::from(value));
            }
        }
        errors.finish()?;
        let source = known.filter(|known| known.sign_source.access_type == *way);
        Ok(Self {
            id: known.map_or_else(|| app.new_id(), |known| known.id),
            sign_source: SignSource {
                id: source.map_or_else(
                    || app.new_id::<parlance_domain::kind::SignAuth>().uuid(),
                    |known| known.sign_source.id,
                ),
                access_type: (*way).to_owned(),
            },
            sign_params: Map::from_iter([((*way).to_owned(), Value::Object(kept))]),
        })
    }
}

/// The address of a server, with or without its scheme: published examples have just a host. Without
/// one it has to have a dot, so that it cannot be taken for a scheme.
fn is_server(text: &str) -> bool {
    if text.contains("://") {
        return is_web_address(text);
    }
    text.split([':', '/']).next().is_some_and(|host| host.contains('.')) && is_web_address(&format!("https://{text}"))
}

fn required(path: &str, member: &str) -> Error {
    Error::field(format!("{path}.{member}"), "This field is required.")
}
