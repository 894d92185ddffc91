//! Looks a word up: first in a key-value bucket, then by asking a service, whose answer it keeps.
//!
//!     cargo build --release --target wasm32-wasip1
//!     brokkr devrun target/wasm32-wasip1/release/host-rust.wasm --trigger_subject='words.*'
mod brokkr;

use std::io::{Read, Write};

fn main() {
    let subject = std::env::args().nth(1).unwrap_or_default();
    let word = subject.rsplit('.').next().unwrap_or_default();
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload).expect("the message");
    match look_up(word, &payload) {
        Ok(meaning) => std::io::stdout().write_all(&meaning).expect("the reply"),
        Err(error) => {
            eprintln!("{word}: {error}");
            std::process::exit(1);
        }
    }
}

fn look_up(word: &str, question: &[u8]) -> Result<Vec<u8>, brokkr::Error> {
    match brokkr::kv_get("words", word) {
        Err(error) if error.code == 404 => {
            let meaning = brokkr::request("dictionary", question, 2000)?;
            brokkr::kv_put("words", word, &meaning)?;
            Ok(meaning)
        }
        known => known,
    }
}
