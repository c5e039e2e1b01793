//! One message of each shape.

use std::collections::HashMap;

use crate::proto::ours::bench::json::v1::{
    Address, Blobs, Customer, Doubles, Ints, Item, Longs, Node, Order, Price, Status, Strings, Wide,
};

/// Numbers that look random and are the same in each run (xorshift, from any odd seed).
struct Numbers(u64);

// ===== impl Numbers =====

impl Numbers {
    fn new() -> Numbers {
        Numbers(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Of any length: as many small ones as large ones.
    fn of_any_length(&mut self) -> u64 {
        let shift = self.next() % 64;
        self.next() >> shift
    }

    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn address(city: &str) -> Address {
    Address {
        lines: vec!["Number 42, Long Street".into(), "Third floor".into()],
        city: city.into(),
        postal_code: "12345-678".into(),
        country_code: "DE".into(),
    }
}

fn price(units: i64, nanos: i32) -> Price {
    Price {
        currency_code: "EUR".into(),
        units,
        nanos,
    }
}

pub(super) fn order() -> Order {
    let mut numbers = Numbers::new();
    let items = (0..16).map(|line| Item {
        sku: format!("SKU-{:08}", numbers.next() % 100_000_000),
        title: format!("An article, the {line}th of its kind, in green or blue"),
        quantity: 1 + line % 5,
        unit_price: Some(price(10 + i64::from(line), 990_000_000)),
        weight_kg: (numbers.fraction() * 1e4).round() / 1e3,
        is_fragile: line % 3 == 0,
        options: vec!["gift wrap".into(), format!("size {line}")],
    });
    Order {
        order_id: "order/2026/11/0000123456".into(),
        customer: Some(Customer {
            full_name: "Ada König".into(),
            email_address: "ada@example.com".into(),
            billing_address: Some(address("Berlin")),
            shipping_address: Some(address("Köln")),
            loyalty_points: 123_456_789,
        }),
        line_items: items.collect(),
        labels: (0..12)
            .map(|n| (format!("label-{n}"), format!("value number {n}")))
            .collect(),
        discounts: (0..6)
            .map(|n| (n * 1_000, price(i64::from(n), 0)))
            .collect(),
        status: Status::Packed.into(),
        gift_note: Some("Happy birthday!\nSee you soon \"there\".".into()),
        created_at_micros: 1_763_884_800_123_456,
        tags: (0..8).map(|n| format!("tag-{n}")).collect(),
        total_weight: 37.25,
        paid_in_full: true,
        signature: numbers.bytes(64),
        revision: 7,
        history: vec![Status::Placed.into(), Status::Packed.into()],
        previous_order: Some(numbers.next()),
    }
}

pub(super) fn strings() -> Strings {
    let paragraph = |n: usize| {
        let mut text = "The quick brown fox jumps over the lazy dog. ".repeat(1 + n % 5);
        match n % 4 {
            0 => text.push_str("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich."),
            1 => text.push_str("A \"quoted\" word, a \\ and a line\nthat ends, with\ttabs."),
            _ => {}
        }
        text
    };
    Strings {
        title: "Text".into(),
        paragraphs: (0..40).map(paragraph).collect(),
        notes: (0..20)
            .map(|n| (format!("note-{n}"), paragraph(n)))
            .collect(),
    }
}

pub(super) fn doubles() -> Doubles {
    let mut numbers = Numbers::new();
    Doubles {
        doubles: (0..200)
            .map(|n| match n % 4 {
                // As measured, as in prices, as a fraction, as whole numbers are held in doubles.
                0 => (numbers.fraction() - 0.5) * 1e6,
                1 => (numbers.fraction() * 1e5).round() / 100.0,
                2 => numbers.fraction(),
                _ => (numbers.fraction() * 1e6).round(),
            })
            .collect(),
        floats: (0..100).map(|_| numbers.fraction() as f32 * 1e3).collect(),
    }
}

pub(super) fn ints() -> Ints {
    let mut numbers = Numbers::new();
    Ints {
        signed: (0..200)
            .map(|_| {
                (numbers.of_any_length() >> 32) as i32
                    * if numbers.next().is_multiple_of(4) {
                        -1
                    } else {
                        1
                    }
            })
            .collect(),
        unsigned: (0..200)
            .map(|_| (numbers.of_any_length() >> 32) as u32)
            .collect(),
    }
}

pub(super) fn longs() -> Longs {
    let mut numbers = Numbers::new();
    Longs {
        signed: (0..200)
            .map(|_| {
                (numbers.of_any_length() >> 1) as i64
                    * if numbers.next().is_multiple_of(4) {
                        -1
                    } else {
                        1
                    }
            })
            .collect(),
        unsigned: (0..200).map(|_| numbers.of_any_length()).collect(),
    }
}

pub(super) fn blobs() -> Blobs {
    let mut numbers = Numbers::new();
    Blobs {
        key: numbers.bytes(16),
        content: numbers.bytes(4_096),
        chunks: (1..=16).map(|n| numbers.bytes(n * 16)).collect(),
    }
}

pub(super) fn deep() -> Node {
    (0..60).rev().fold(Node::default(), |child, level| Node {
        name: format!("level {level}"),
        level,
        child: Some(Box::new(child)),
    })
}

pub(super) fn wide() -> Wide {
    Wide {
        name: "front".into(),
        enabled: true,
        retry_count: 3,
        queue_bytes: 65_536,
        load_factor: 0.75,
        log_level: "info".into(),
        verify_peers: true,
        default_status: Status::Placed.into(),
        max_connections: Some(100),
        keep_alive: Some(false),
        listen_ports: vec![80, 443, 8_080],
        extra_headers: HashMap::from([("x-team".into(), "blue".into())]),
        time_zone: "Europe/Berlin".into(),
        cache_bytes: 1 << 40,
        ..Wide::default()
    }
}
