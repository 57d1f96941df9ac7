//! The SQLite file: schema, seed and the questions that are asked of products.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{params, params_from_iter, Connection, OptionalExtension, Row};
use serde::Serialize;

use crate::error::ApiError;
use crate::seed;

pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS categories (
  slug TEXT PRIMARY KEY, name TEXT NOT NULL, blurb TEXT NOT NULL, position INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS products (
  sku TEXT PRIMARY KEY, name TEXT NOT NULL, tagline TEXT NOT NULL, description TEXT NOT NULL,
  category TEXT NOT NULL REFERENCES categories(slug), price_cents INTEGER NOT NULL CHECK (price_cents > 0),
  stock INTEGER NOT NULL CHECK (stock >= 0), position INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS products_by_category ON products(category, position);
CREATE VIRTUAL TABLE IF NOT EXISTS product_text USING fts5(
  sku UNINDEXED, name, tagline, description, category, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE TABLE IF NOT EXISTS reservations (
  id TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('held', 'committed', 'released')),
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS reservations_held ON reservations(expires_at) WHERE state = 'held';
CREATE TABLE IF NOT EXISTS reservation_items (
  reservation TEXT NOT NULL REFERENCES reservations(id), sku TEXT NOT NULL REFERENCES products(sku),
  name TEXT NOT NULL, quantity INTEGER NOT NULL CHECK (quantity > 0), unit_price_cents INTEGER NOT NULL,
  PRIMARY KEY (reservation, sku)) STRICT;
";

#[derive(Debug, Serialize)]
pub struct Category {
    pub slug: String,
    pub name: String,
    pub blurb: String,
    pub products: i64,
}

#[derive(Debug, Serialize)]
pub struct Product {
    pub sku: String,
    pub name: String,
    pub tagline: String,
    pub description: String,
    pub category: String,
    pub price_cents: i64,
    pub currency: &'static str,
    pub stock: i64,
    pub image: String,
}

#[derive(Debug, Default)]
pub struct ProductQuery {
    pub category: Option<String>,
    pub text: Option<String>,
    pub skus: Option<Vec<String>>,
    pub sort: Sort,
    pub limit: i64,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sort {
    /// As the shop arranges them; for a search, the best match first.
    #[default]
    Featured,
    PriceUp,
    PriceDown,
    Name,
}

/// One connection behind a lock: SQLite has one writer anyhow, and every statement here takes microseconds.
pub struct Db {
    connection: Arc<Mutex<Connection>>,
    reservation_ttl_seconds: i64,
}

impl Db {
    pub fn open(path: &str, reservation_ttl_seconds: i64) -> Result<Self, Box<dyn std::error::Error>> {
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch(SCHEMA)?;
        seed::plant(&mut connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), reservation_ttl_seconds })
    }

    /// Runs `work` off the event loop; the second argument is the time to live of a reservation in seconds.
    pub async fn call<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, i64) -> Result<T, ApiError> + Send + 'static,
    {
        let (connection, ttl) = (Arc::clone(&self.connection), self.reservation_ttl_seconds);
        let task = tokio::task::spawn_blocking(move || {
            // A panic elsewhere rolled its transaction back, so the connection is still good.
            let mut guard = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut guard, ttl)
        });
        task.await.map_err(|_| ApiError::unavailable("the database task was cancelled"))?
    }
}

pub fn ping(connection: &Connection) -> Result<(), ApiError> {
    let products: i64 = connection.query_row("SELECT count(*) FROM products", [], |row| row.get(0))?;
    if products == 0 {
        return Err(ApiError::unavailable("the database holds no products"));
    }
    Ok(())
}

pub fn categories(connection: &Connection) -> Result<Vec<Category>, ApiError> {
    let mut statement = connection.prepare_cached(
        "SELECT c.slug, c.name, c.blurb, count(p.sku) FROM categories c LEFT JOIN products p ON p.category = c.slug
         GROUP BY c.slug ORDER BY c.position",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Category { slug: row.get(0)?, name: row.get(1)?, blurb: row.get(2)?, products: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn product(connection: &Connection, sku: &str) -> Result<Product, ApiError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM products p WHERE p.sku = ?1"))?
        .query_row(params![sku], product_of)
        .optional()?
        .ok_or_else(|| ApiError::not_found(format!("there is no product '{sku}'")))
}

/// The page that was asked for, and how many products match in all.
pub fn products(connection: &Connection, query: &ProductQuery) -> Result<(Vec<Product>, i64), ApiError> {
    let mut from = String::from("products p");
    let mut conditions = vec!["1"];
    let mut values: Vec<String> = Vec::new();
    let mut order = match query.sort {
        Sort::Featured => "p.position",
        Sort::PriceUp => "p.price_cents, p.position",
        Sort::PriceDown => "p.price_cents DESC, p.position",
        Sort::Name => "p.name",
    };
    if let Some(text) = &query.text {
        let Some(pattern) = match_pattern(text) else { return Ok((Vec::new(), 0)) };
        from.push_str(" JOIN product_text t ON t.sku = p.sku");
        conditions.push("product_text MATCH ?");
        values.push(pattern);
        if query.sort == Sort::Featured {
            order = "bm25(product_text, 0, 8, 4, 1, 4), p.position";
        }
    }
    if let Some(category) = &query.category {
        conditions.push("p.category = ?");
        values.push(category.clone());
    }
    let list;
    if let Some(skus) = &query.skus {
        list = format!("p.sku IN ({})", vec!["?"; skus.len()].join(","));
        conditions.push(&list);
        values.extend(skus.iter().cloned());
    }
    let filter = format!("{from} WHERE {}", conditions.join(" AND "));
    let total = connection.query_row(
        &format!("SELECT count(*) FROM {filter}"),
        params_from_iter(&values),
        |row| row.get(0),
    )?;
    let page = format!(
        "SELECT {COLUMNS} FROM {filter} ORDER BY {order} LIMIT {} OFFSET {}",
        query.limit, query.offset
    );
    let mut statement = connection.prepare_cached(&page)?;
    let rows = statement.query_map(params_from_iter(&values), product_of)?;
    Ok((rows.collect::<Result<_, _>>()?, total))
}

const COLUMNS: &str = "p.sku, p.name, p.tagline, p.description, p.category, p.price_cents, p.stock";

fn product_of(row: &Row<'_>) -> rusqlite::Result<Product> {
    let sku: String = row.get(0)?;
    Ok(Product {
        image: format!("/images/{sku}.svg"),
        sku,
        name: row.get(1)?,
        tagline: row.get(2)?,
        description: row.get(3)?,
        category: row.get(4)?,
        price_cents: row.get(5)?,
        currency: "EUR",
        stock: row.get(6)?,
    })
}

/// Words of a person as an FTS5 query: each word is quoted, so nothing in it is an operator, and matches as a prefix.
fn match_pattern(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(8)
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog.db");
        let db = Db::open(path.to_str().expect("utf-8"), 900).expect("a database");
        (folder, db)
    }

    fn search(db: &Db, text: &str) -> Vec<String> {
        let query = ProductQuery { text: Some(text.to_owned()), limit: 50, ..Default::default() };
        let connection = db.connection.lock().expect("lock");
        products(&connection, &query).expect("search").0.into_iter().map(|p| p.sku).collect()
    }

    #[test]
    fn the_seed_is_whole_and_planted_once() {
        let (folder, db) = opened();
        let path = folder.path().join("catalog.db");
        drop(db);
        let again = Db::open(path.to_str().expect("utf-8"), 900).expect("second start");
        let connection = again.connection.lock().expect("lock");
        let (all, total) =
            products(&connection, &ProductQuery { limit: 100, ..Default::default() }).expect("products");
        assert_eq!((all.len(), total), (24, 24));
        for product in &all {
            assert!(seed::picture(&product.sku).is_some(), "{} has no picture", product.sku);
        }
        let counted: i64 = categories(&connection).expect("categories").iter().map(|c| c.products).sum();
        assert_eq!(counted, 24);
    }

    #[test]
    fn search_finds_words_prefixes_and_nothing_dangerous() {
        let (_folder, db) = opened();
        assert_eq!(search(&db, "ukul").first().map(String::as_str), Some("harbour-ukulele"));
        assert!(search(&db, "KALIMBA").contains(&"seventeen-key-kalimba".to_owned()));
        assert!(search(&db, "tuba").is_empty());
        for hostile in ["\"", "*", "a OR", "name:", "' ; DROP TABLE products", "NEAR(", "(((("] {
            search(&db, hostile);
        }
    }

    #[test]
    fn pages_and_sorts() {
        let (_folder, db) = opened();
        let connection = db.connection.lock().expect("lock");
        let query = ProductQuery { sort: Sort::PriceUp, limit: 5, offset: 5, ..Default::default() };
        let (page, total) = products(&connection, &query).expect("page");
        assert_eq!((page.len(), total), (5, 24));
        assert!(page.windows(2).all(|pair| pair[0].price_cents <= pair[1].price_cents));
    }
}
