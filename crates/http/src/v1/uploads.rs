//! Presigned form upload.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::Error;
use parlance_service::App;
use parlance_service::uploads::{self, Receiving, UploadForm, UploadRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, ApiErrors, ApiResult};
use crate::extract::{Body, Caller, Form, FormField, Query, grants};

/// What is to be uploaded. Fields may also come as query parameters.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PresignBody {
    filename: Option<String>,
    /// `attachment`, `chatbot-file`, `batch-qa`, ...
    model_name: Option<String>,
    /// `file`.
    field_name: Option<String>,
    /// Bytes of the file; the form takes no more. 0 when they are not known: up to the server's limit.
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
    caller: Caller<grants::WriteKnowledge>,
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
    let fields = uploads::presign(&app, &caller.principal, &request).await?;
    Ok(Json(PresignOut { url: app.links.absolute("uploads/"), fields }))
}

/// Receive a form. It carries its own permission; an `Authorization` header is not looked at.
pub(crate) async fn receive(State(app): State<App>, mut form: Form) -> ApiResult<StatusCode> {
    let (mut key, mut policy, mut signature): (Option<String>, Option<String>, Option<String>) = (None, None, None);
    while let Some(field) = form.next_field().await? {
        let name = field.name().to_owned();
        if name == "file" {
            let (Some(key), Some(policy), Some(signature)) = (&key, &policy, &signature) else {
                return Err(Error::BadRequest("The file must be the last field of the form.".to_owned()).into());
            };
            let receiving = uploads::receive(&app, key, policy, signature).await?;
            store(&app, receiving, field).await?;
            return Ok(StatusCode::NO_CONTENT);
        }
        let value = field.small_text().await?;
        match name.as_str() {
            "key" => key = Some(value),
            "policy" => policy = Some(value),
            "x-amz-signature" => signature = Some(value),
            _ => {}
        }
    }
    Err(Error::BadRequest("The form has no file.".to_owned()).into())
}

/// Writes the bytes of a form field, or leaves nothing behind.
pub(crate) async fn store(
    app: &App,
    mut receiving: Receiving,
    mut field: FormField<'_>,
) -> ApiResult<parlance_storage::uploads::Upload> {
    field.begin_file();
    loop {
        let step = match field.chunk().await {
            Ok(Some(bytes)) => receiving.write(&bytes).await.map_err(ApiError),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            receiving.discard().await;
            return Err(error);
        }
    }
    field.end_file();
    Ok(receiving.finish(app).await?)
}
