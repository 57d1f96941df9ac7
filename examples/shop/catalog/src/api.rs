//! The HTTP face: wire shapes and their checks; the work is done in `db` and `reservations`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{header, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{middleware, Json, Router};
use serde::Deserialize;
use serde_json::{json, Value};
use tokio::sync::watch;

use crate::db::{self, Db, ProductQuery, Sort};
use crate::error::ApiError;
use crate::reservations::{self, Wanted};
use crate::{request, seed};

const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_PAGE: i64 = 100;
const MAX_LINES: usize = 50;
const MAX_QUANTITY: i64 = 99;

#[derive(Clone)]
struct App {
    db: Arc<Db>,
    stopping: watch::Receiver<bool>,
}

pub fn router(db: Arc<Db>, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .route("/categories", get(categories))
        .route("/products", get(products))
        .route("/products/{sku}", get(product))
        .route("/images/{file}", get(image))
        .route("/reservations", post(reserve))
        .route("/reservations/{id}", get(reservation).delete(release))
        .route("/reservations/{id}/commit", post(commit))
        .fallback(|| async { ApiError::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(stopping.clone(), request::observe))
        .with_state(App { db, stopping })
}

async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if *app.stopping.borrow() {
        return Err(ApiError::unavailable("shutting down"));
    }
    app.db.call(|connection, _| db::ping(connection)).await?;
    Ok(Json(json!({ "status": "ready", "checks": { "database": "ok" } })))
}

async fn categories(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let items = app.db.call(|connection, _| db::categories(connection)).await?;
    Ok(Json(json!({ "items": items })))
}

#[derive(Deserialize)]
struct ProductParams {
    category: Option<String>,
    q: Option<String>,
    skus: Option<String>,
    sort: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
}

impl ProductParams {
    fn checked(self) -> Result<ProductQuery, ApiError> {
        let sort = match self.sort.as_deref() {
            None | Some("" | "featured") => Sort::Featured,
            Some("price") => Sort::PriceUp,
            Some("-price") => Sort::PriceDown,
            Some("name") => Sort::Name,
            Some(_) => return Err(ApiError::invalid("sort is one of featured, price, -price, name")),
        };
        let (limit, offset) = (self.limit.unwrap_or(MAX_PAGE), self.offset.unwrap_or(0));
        if !(1..=MAX_PAGE).contains(&limit) || !(0..=1_000_000).contains(&offset) {
            return Err(ApiError::invalid(format!("limit is 1 to {MAX_PAGE}, offset is 0 or more")));
        }
        let text = self.q.map(|q| q.trim().to_owned()).filter(|q| !q.is_empty());
        if text.as_ref().is_some_and(|q| q.chars().count() > 100) {
            return Err(ApiError::invalid("q is at most 100 characters"));
        }
        let skus: Option<Vec<String>> = self.skus.map(|list| list.split(',').map(str::to_owned).collect());
        if skus.as_ref().is_some_and(|list| list.len() > MAX_PAGE as usize) {
            return Err(ApiError::invalid(format!("at most {MAX_PAGE} skus")));
        }
        let category = self.category.filter(|category| !category.is_empty());
        Ok(ProductQuery { category, text, skus, sort, limit, offset })
    }
}

async fn products(
    State(app): State<App>,
    params: Result<Query<ProductParams>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let query = params.map_err(|error| ApiError::malformed(error.body_text()))?.0.checked()?;
    let (limit, offset) = (query.limit, query.offset);
    let (items, total) = app.db.call(move |connection, _| db::products(connection, &query)).await?;
    Ok(Json(json!({ "items": items, "total": total, "limit": limit, "offset": offset })))
}

async fn product(State(app): State<App>, Path(sku): Path<String>) -> Result<Response, ApiError> {
    let product = app.db.call(move |connection, _| db::product(connection, &sku)).await?;
    Ok(Json(product).into_response())
}

async fn image(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let picture = file
        .strip_suffix(".svg")
        .and_then(seed::picture)
        .ok_or_else(|| ApiError::not_found(format!("there is no picture '{file}'")))?;
    let etag = seed::etag(picture);
    let cache = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, "public, max-age=3600")];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok((cache, [(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
}

#[derive(Deserialize)]
struct ReserveBody {
    id: String,
    items: Vec<ReserveItem>,
}

#[derive(Deserialize)]
struct ReserveItem {
    sku: String,
    quantity: i64,
}

impl ReserveBody {
    fn checked(self) -> Result<(String, Wanted), ApiError> {
        check_id(&self.id)?;
        if self.items.is_empty() || self.items.len() > MAX_LINES {
            return Err(ApiError::invalid(format!("items holds 1 to {MAX_LINES} lines")));
        }
        let mut wanted = Wanted::new();
        for item in self.items {
            let quantity = wanted.entry(item.sku).or_insert(0);
            *quantity = quantity.saturating_add(item.quantity);
            if item.quantity < 1 || *quantity > MAX_QUANTITY {
                return Err(ApiError::invalid(format!("a quantity is 1 to {MAX_QUANTITY}")));
            }
        }
        Ok((self.id, wanted))
    }
}

fn check_id(id: &str) -> Result<(), ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(8..=64).contains(&id.len()) || !id.bytes().all(plain) {
        return Err(ApiError::invalid("id is 8 to 64 letters, digits, '-' or '_'"));
    }
    Ok(())
}

async fn reserve(
    State(app): State<App>,
    body: Result<Json<ReserveBody>, JsonRejection>,
) -> Result<Response, ApiError> {
    let (id, wanted) = body.map_err(|error| ApiError::malformed(error.body_text()))?.0.checked()?;
    let held = app.db.call(move |connection, ttl| reservations::hold(connection, &id, &wanted, ttl)).await?;
    let status = if held.1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(held.0)).into_response())
}

async fn reservation(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let found = app.db.call(move |connection, _| reservations::get(connection, &id)).await?;
    Ok(Json(found).into_response())
}

async fn commit(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let sold = app.db.call(move |connection, _| reservations::commit(connection, &id)).await?;
    Ok(Json(sold).into_response())
}

async fn release(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    check_id(&id)?;
    app.db.call(move |connection, _| reservations::release(connection, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
