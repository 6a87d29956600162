//! Bytes of uploads, by signed link. Cookies and credentials are never looked at.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, header};
use parlance_domain::Error;
use parlance_service::App;
use parlance_service::attachments::media_type;
use parlance_service::links::FileLink;
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use crate::error::ApiResult;
use crate::extract::Query;

/// The signature of a link.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Signature {
    name: String,
    org: String,
    expires: String,
    #[serde(rename = "signature")]
    code: String,
}

/// Serve a stored file. Always as a download, so that nothing in it runs in the page's origin;
/// pictures are shown, because browsers do not run them.
pub(crate) async fn get(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    Query(signature): Query<Signature>,
) -> ApiResult<Response> {
    let Path(path) = path.map_err(|_not_text| Error::NotFound("file"))?;
    let blob_key = format!("media/{path}");
    let link = FileLink {
        blob_key: &blob_key,
        filename: &signature.name,
        organisation: &signature.org,
        expires: &signature.expires,
        signature: &signature.code,
    };
    if !app.links.is_file_link(&link, app.now()) {
        return Err(Error::NotFound("file").into());
    }
    let file = app.blobs.open_file(&blob_key).await?.ok_or(Error::NotFound("file"))?;
    let length = file.metadata().await.map_err(|error| Error::internal("reading a stored file", error))?.len();
    let media_type = media_type(&signature.name);
    let shown = media_type.starts_with("image/");
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_DISPOSITION, disposition(shown, &signature.name));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

/// `attachment; filename="ascii"; filename*=UTF-8''percent-encoded` (RFC 6266).
fn disposition(shown: bool, filename: &str) -> HeaderValue {
    let kind = if shown { "inline" } else { "attachment" };
    let plain = |character: char| character.is_ascii_alphanumeric() || " ._-()".contains(character);
    let ascii: String = filename.chars().map(|character| if plain(character) { character } else { '_' }).collect();
    let encoded: String = filename
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    HeaderValue::from_str(&format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{encoded}"))
        .unwrap_or_else(|_not_a_header| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_header() {
        let value = disposition(false, "報\"價\r\nX: y;單.pdf");
        let text = value.to_str().unwrap();
        assert_eq!(text.split("; ").next(), Some("attachment"));
        assert!(text.contains("filename=\"______X_ y__.pdf\"") || text.contains(".pdf\"; filename*=UTF-8''%E5"));
        assert!(!text.contains('\r') && !text.contains('\n'));
    }
}
