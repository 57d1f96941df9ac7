//! Stock that is set aside for an order: held, then committed (sold) or released (given back).
//!
//! The caller chooses the id, so every call may be repeated: the same request again answers what the first one
//! answered. `products.stock` is what can still be sold; a hold takes from it at once, in one transaction.

use std::collections::BTreeMap;

use rusqlite::{params, Connection, OptionalExtension, Transaction, TransactionBehavior};
use serde::Serialize;
use serde_json::json;

use crate::error::ApiError;
use crate::telemetry::{rfc3339, unix_seconds};

#[derive(Debug, PartialEq, Serialize)]
pub struct Reservation {
    pub id: String,
    pub state: String,
    pub expires_at: String,
    pub items: Vec<Item>,
    pub total_cents: i64,
    pub currency: &'static str,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Item {
    pub sku: String,
    pub name: String,
    pub quantity: i64,
    pub unit_price_cents: i64,
}

/// sku → quantity; a map, so that the same sku twice is one line and the order of lines does not matter.
pub type Wanted = BTreeMap<String, i64>;

/// Holds stock for all of `wanted` or for none of it. The flag says whether the reservation is new.
pub fn hold(
    connection: &mut Connection,
    id: &str,
    wanted: &Wanted,
    ttl: i64,
) -> Result<(Reservation, bool), ApiError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(known) = find(&tx, id)? {
        let same = known.items.iter().map(|i| (i.sku.clone(), i.quantity)).collect::<Wanted>() == *wanted;
        return match (same, known.state.as_str()) {
            (false, _) => Err(ApiError::conflict("id_reused", "this id was used for other items")),
            (true, "released") => {
                Err(ApiError::conflict("reservation_released", "this reservation was given back"))
            }
            (true, _) => Ok((known, false)),
        };
    }
    let now = unix_seconds();
    tx.execute(
        "INSERT INTO reservations (id, state, created_at, expires_at) VALUES (?1, 'held', ?2, ?3)",
        params![id, now, now + ttl],
    )?;
    let mut short = Vec::new();
    for (sku, quantity) in wanted {
        take(&tx, id, sku, *quantity, &mut short)?;
    }
    if !short.is_empty() {
        let message = "not everything is in stock any more";
        return Err(ApiError::conflict("out_of_stock", message).with_details(json!({ "items": short })));
    }
    let made = find(&tx, id)?.ok_or_else(|| ApiError::not_found("the reservation vanished"))?;
    tx.commit()?;
    Ok((made, true))
}

fn take(
    tx: &Transaction<'_>,
    id: &str,
    sku: &str,
    quantity: i64,
    short: &mut Vec<serde_json::Value>,
) -> Result<(), ApiError> {
    let found: Option<(String, i64, i64)> = tx
        .prepare_cached("SELECT name, price_cents, stock FROM products WHERE sku = ?1")?
        .query_row(params![sku], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((name, price_cents, stock)) = found else {
        return Err(ApiError::not_found(format!("there is no product '{sku}'")));
    };
    if stock < quantity {
        short.push(json!({ "sku": sku, "name": name, "wanted": quantity, "available": stock }));
        return Ok(());
    }
    tx.execute("UPDATE products SET stock = stock - ?2 WHERE sku = ?1", params![sku, quantity])?;
    tx.execute(
        "INSERT INTO reservation_items (reservation, sku, name, quantity, unit_price_cents) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, sku, name, quantity, price_cents],
    )?;
    Ok(())
}

/// Sells what was held. A reservation that expired in between is a conflict: its stock may be gone.
pub fn commit(connection: &mut Connection, id: &str) -> Result<Reservation, ApiError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known = find(&tx, id)?.ok_or_else(|| unknown(id))?;
    if known.state == "released" {
        return Err(ApiError::conflict("reservation_released", "this reservation was given back"));
    }
    tx.execute("UPDATE reservations SET state = 'committed' WHERE id = ?1", params![id])?;
    tx.commit()?;
    Ok(Reservation { state: "committed".to_owned(), ..known })
}

/// Gives back what was held or sold. An unknown id leaves a mark that no later hold under it can succeed:
/// a "release" may overtake the "hold" that it undoes.
pub fn release(connection: &mut Connection, id: &str) -> Result<(), ApiError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match find(&tx, id)? {
        None => {
            let now = unix_seconds();
            tx.execute(
                "INSERT INTO reservations (id, state, created_at, expires_at) VALUES (?1, 'released', ?2, ?2)",
                params![id, now],
            )?;
        }
        Some(known) if known.state == "released" => {}
        Some(_) => give_back(&tx, id)?,
    }
    tx.commit()?;
    Ok(())
}

pub fn release_expired(connection: &mut Connection) -> Result<usize, ApiError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let expired: Vec<String> = tx
        .prepare_cached("SELECT id FROM reservations WHERE state = 'held' AND expires_at <= ?1")?
        .query_map(params![unix_seconds()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &expired {
        give_back(&tx, id)?;
    }
    tx.commit()?;
    Ok(expired.len())
}

fn give_back(tx: &Transaction<'_>, id: &str) -> Result<(), ApiError> {
    tx.execute(
        "UPDATE products SET stock = stock + i.quantity FROM reservation_items i
         WHERE i.reservation = ?1 AND i.sku = products.sku",
        params![id],
    )?;
    tx.execute("UPDATE reservations SET state = 'released' WHERE id = ?1", params![id])?;
    Ok(())
}

pub fn get(connection: &Connection, id: &str) -> Result<Reservation, ApiError> {
    find(connection, id)?.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no reservation '{id}'"))
}

fn find(connection: &Connection, id: &str) -> Result<Option<Reservation>, ApiError> {
    let head: Option<(String, i64)> = connection
        .prepare_cached("SELECT state, expires_at FROM reservations WHERE id = ?1")?
        .query_row(params![id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, expires_at)) = head else { return Ok(None) };
    let items: Vec<Item> = connection
        .prepare_cached(
            "SELECT sku, name, quantity, unit_price_cents FROM reservation_items WHERE reservation = ?1 ORDER BY sku",
        )?
        .query_map(params![id], |row| {
            Ok(Item { sku: row.get(0)?, name: row.get(1)?, quantity: row.get(2)?, unit_price_cents: row.get(3)? })
        })?
        .collect::<Result<_, _>>()?;
    let total_cents = items.iter().map(|item| item.quantity * item.unit_price_cents).sum();
    let expires_at = rfc3339(expires_at, 0);
    Ok(Some(Reservation { id: id.to_owned(), state, expires_at, items, total_cents, currency: "EUR" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Connection {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch(crate::db::SCHEMA).expect("schema");
        crate::seed::plant(&mut connection).expect("seed");
        connection
    }

    fn stock(connection: &Connection, sku: &str) -> i64 {
        connection
            .query_row("SELECT stock FROM products WHERE sku = ?1", [sku], |row| row.get(0))
            .expect("stock")
    }

    fn wanted(items: &[(&str, i64)]) -> Wanted {
        items.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity)).collect()
    }

    const PIANO: &str = "toy-grand-piano";

    #[test]
    fn a_hold_takes_stock_and_a_release_gives_it_back_once() {
        let mut db = opened();
        let before = stock(&db, PIANO);
        let (first, new) = hold(&mut db, "order-0001", &wanted(&[(PIANO, 1)]), 900).expect("hold");
        assert!(new);
        let (again, new) = hold(&mut db, "order-0001", &wanted(&[(PIANO, 1)]), 900).expect("hold again");
        assert!(!new);
        assert_eq!(first, again);
        assert_eq!(stock(&db, PIANO), before - 1);
        release(&mut db, "order-0001").expect("release");
        release(&mut db, "order-0001").expect("release again");
        assert_eq!(stock(&db, PIANO), before);
        assert_eq!(commit(&mut db, "order-0001").expect_err("too late").code(), "reservation_released");
    }

    #[test]
    fn all_or_nothing() {
        let mut db = opened();
        let (pianos, whistles) = (stock(&db, PIANO), stock(&db, "tin-whistle"));
        let error = hold(&mut db, "order-0002", &wanted(&[("tin-whistle", 1), (PIANO, pianos + 1)]), 900)
            .expect_err("too many pianos");
        assert_eq!(error.code(), "out_of_stock");
        assert_eq!((stock(&db, PIANO), stock(&db, "tin-whistle")), (pianos, whistles));
        assert_eq!(get(&db, "order-0002").expect_err("nothing kept").code(), "not_found");
    }

    #[test]
    fn a_release_that_overtakes_its_hold_wins() {
        let mut db = opened();
        let before = stock(&db, PIANO);
        release(&mut db, "order-0003").expect("release of nothing");
        let error = hold(&mut db, "order-0003", &wanted(&[(PIANO, 1)]), 900).expect_err("a tombstone");
        // The items differ from the empty tombstone's, so the id counts as used.
        assert_eq!(error.code(), "id_reused");
        assert_eq!(stock(&db, PIANO), before);
    }

    #[test]
    fn what_expires_comes_back_and_what_was_committed_stays_sold() {
        let mut db = opened();
        let before = stock(&db, "tin-whistle");
        hold(&mut db, "order-0004", &wanted(&[("tin-whistle", 2)]), -1).expect("hold");
        hold(&mut db, "order-0005", &wanted(&[("tin-whistle", 3)]), -1).expect("hold");
        commit(&mut db, "order-0005").expect("commit");
        assert_eq!(release_expired(&mut db).expect("sweep"), 1);
        assert_eq!(stock(&db, "tin-whistle"), before - 3);
    }

    #[test]
    fn an_id_belongs_to_its_items() {
        let mut db = opened();
        hold(&mut db, "order-0006", &wanted(&[("tin-whistle", 2)]), 900).expect("hold");
        let error =
            hold(&mut db, "order-0006", &wanted(&[("tin-whistle", 3)]), 900).expect_err("other items");
        assert_eq!(error.code(), "id_reused");
    }
}
