//! The goods of the shop: `seed/products.json` and one drawing per product, both compiled in.

use rusqlite::{params, Connection};
use serde::Deserialize;

#[derive(Deserialize)]
struct Seed {
    categories: Vec<SeedCategory>,
    products: Vec<SeedProduct>,
}

#[derive(Deserialize)]
struct SeedCategory {
    slug: String,
    name: String,
    blurb: String,
}

#[derive(Deserialize)]
struct SeedProduct {
    sku: String,
    name: String,
    category: String,
    price_cents: i64,
    stock: i64,
    tagline: String,
    description: String,
}

macro_rules! pictures {
    ($($sku:literal),* $(,)?) => {
        &[$(($sku, include_str!(concat!("../seed/images/", $sku, ".svg")))),*]
    };
}

const PICTURES: &[(&str, &str)] = pictures![
    "harbour-ukulele",
    "five-string-kantele",
    "cigar-box-guitar",
    "pocket-lyre",
    "porch-banjolele",
    "robin-ocarina",
    "night-train-harmonica",
    "tin-whistle",
    "eight-reed-pan-flute",
    "balcony-melodica",
    "seventeen-key-kalimba",
    "rainbow-glockenspiel",
    "toy-grand-piano",
    "hand-crank-music-box",
    "singing-bowl",
    "tambourine",
    "kitchen-bongos",
    "egg-shakers",
    "story-cajon",
    "petal-tongue-drum",
    "pyramid-metronome",
    "theremin-kit",
    "tuning-fork",
    "birch-baton",
];

pub fn picture(sku: &str) -> Option<&'static str> {
    PICTURES.iter().find(|(known, _)| *known == sku).map(|(_, svg)| *svg)
}

/// FNV-1a over the text: it must only change when the drawing does.
pub fn etag(svg: &str) -> String {
    let hash = svg.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("\"{hash:016x}\"")
}

/// Fills an empty database. One with products is left alone: stock and prices are the shop's data from then on.
pub fn plant(connection: &mut Connection) -> Result<(), Box<dyn std::error::Error>> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let planted: i64 = tx.query_row("SELECT count(*) FROM products", [], |row| row.get(0))?;
    if planted > 0 {
        return Ok(());
    }
    let seed: Seed = serde_json::from_str(include_str!("../seed/products.json"))?;
    for (position, category) in seed.categories.iter().enumerate() {
        tx.execute(
            "INSERT INTO categories (slug, name, blurb, position) VALUES (?1, ?2, ?3, ?4)",
            params![category.slug, category.name, category.blurb, position as i64],
        )?;
    }
    for (position, product) in seed.products.iter().enumerate() {
        tx.execute(
            "INSERT INTO products (sku, name, tagline, description, category, price_cents, stock, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                product.sku,
                product.name,
                product.tagline,
                product.description,
                product.category,
                product.price_cents,
                product.stock,
                position as i64
            ],
        )?;
        tx.execute(
            "INSERT INTO product_text (sku, name, tagline, description, category) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![product.sku, product.name, product.tagline, product.description, product.category],
        )?;
    }
    tx.commit()?;
    Ok(())
}
