//! Presigned form upload.

use axum::Json;
use axum::extract::{FromRequest, Multipart, Request, State};
use http::StatusCode;
use parlance_domain::Error;
use parlance_service::App;
use parlance_service::uploads::{self, Receiving, UploadForm, UploadRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Query, grants};

/// Bytes of a form field that is not the file.
const MAX_FIELD: usize = 16 * 1024;

/// What is to be uploaded. Fields may also come as query parameters.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PresignBody {
    filename: Option<String>,
    /// `attachment`, `chatbot-file`, `batch-qa`, ...
    model_name: Option<String>,
    /// `file`.
    field_name: Option<String>,
    /// Bytes.
    #[schema(value_type = Option<u64>)]
    file_size: Option<serde_json::Value>,
}

/// Where to post, and the fields to post before the file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PresignOut {
    url: String,
    #[schema(value_type = Object)]
    fields: UploadForm,
}

/// Ask for an upload form.
#[utoipa::path(post, path = "/api/v1/upload-presigned-url/", tag = "uploads", request_body = PresignBody,
    responses((status = 200, body = PresignOut), ApiErrors))]
pub(crate) async fn presign(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    Query(query): Query<PresignBody>,
    Body(body): Body<PresignBody>,
) -> ApiResult<Json<PresignOut>> {
    let required = |field: &str| Error::field(field, "This field is required.");
    let size = body.file_size.or(query.file_size).ok_or_else(|| required("fileSize"))?;
    let size = match &size {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    let request = UploadRequest {
        filename: body.filename.or(query.filename).ok_or_else(|| required("filename"))?,
        model_name: body.model_name.or(query.model_name).ok_or_else(|| required("modelName"))?,
        file_size: size.ok_or_else(|| Error::field("fileSize", "A valid integer is required."))?,
    };
    if body.field_name.or(query.field_name).is_none() {
        return Err(required("fieldName").into());
    }
    let fields = uploads::presign(&app, auth.tenant(), &request)?;
    Ok(Json(PresignOut { url: app.links.absolute("uploads/"), fields }))
}

/// Receive a form. It carries its own permission; an `Authorization` header is not looked at.
pub(crate) async fn receive(State(app): State<App>, request: Request) -> ApiResult<StatusCode> {
    let mut form = form(request, &app).await?;
    let (mut key, mut policy, mut signature): (Option<String>, Option<String>, Option<String>) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let (Some(key), Some(policy), Some(signature)) = (&key, &policy, &signature) else {
                return Err(Error::BadRequest("The file must be the last field of the form.".to_owned()).into());
            };
            let receiving = uploads::receive(&app, key, policy, signature).await?;
            store(&app, receiving, field).await?;
            return Ok(StatusCode::NO_CONTENT);
        }
        let value = small_text(field).await?;
        match name.as_str() {
            "key" => key = Some(value),
            "policy" => policy = Some(value),
            "x-amz-signature" => signature = Some(value),
            _ => {}
        }
    }
    Err(Error::BadRequest("The form has no file.".to_owned()).into())
}

/// The form of a request.
pub(crate) async fn form(request: Request, app: &App) -> ApiResult<Multipart> {
    let form = Multipart::from_request(request, app).await;
    form.map_err(|_no_form| Error::UnsupportedMediaType("Send a multipart/form-data body.".to_owned()).into())
}

/// Writes the bytes of a form field, or leaves nothing behind.
pub(crate) async fn store(
    app: &App,
    mut receiving: Receiving,
    mut field: axum::extract::multipart::Field<'_>,
) -> ApiResult<parlance_storage::uploads::Upload> {
    loop {
        let step = match field.chunk().await {
            Ok(Some(bytes)) => receiving.write(&bytes).await.map_err(ApiError),
            Ok(None) => break,
            Err(error) => Err(unreadable(&error)),
        };
        if let Err(error) = step {
            receiving.discard().await;
            return Err(error);
        }
    }
    Ok(receiving.finish(app).await?)
}

async fn small_text(mut field: axum::extract::multipart::Field<'_>) -> ApiResult<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| unreadable(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_FIELD {
            return Err(Error::TooLarge { limit: MAX_FIELD as u64 }.into());
        }
    }
    String::from_utf8(bytes).map_err(|_not_text| Error::BadRequest("A form field is not text.".to_owned()).into())
}

pub(crate) fn unreadable(error: &axum::extract::multipart::MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError(Error::TooLarge { limit: crate::routes::MAX_FORM_BYTES as u64 })
    } else {
        ApiError(Error::BadRequest(format!("The form could not be read: {}.", error.body_text())))
    }
}
