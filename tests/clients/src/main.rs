// SPDX-License-Identifier: GPL-2.0

//! What others have written in Rust for the Xen devices: one part at a time, named by the first argument. Says
//! `as expected` at the end if all was.
//!
//! | arguments | what |
//! |---|---|
//! | `xencall` | hypercalls, and what Xen says of the machine and of dom0 |
//! | `xencall-foreign DOMAIN FRAME` | a frame of a guest, mapped twice |
//! | `xenevtchn` | a channel with itself |
//! | `xengnt DOMAIN BYTE REFERENCE...` | what a guest grants, every page filled with a byte |
//! | `xenstore` | keys, lists, a watch, a transaction |
//! | `vm-memory-foreign DOMAIN FRAME` | the frame by vm-memory, and the same by xencall |
//! | `vm-memory-grant DOMAIN BYTE REFERENCE` | a granted page by vm-memory, mapped at once, and when it is used |

mod calls;
mod events;
mod grants;
mod memory;
mod store;

use std::error::Error;
use std::process::ExitCode;

/// Anything that goes wrong ends the part with what it says.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Fails unless two values are the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}").into())
}

async fn part(arguments: &[String]) -> Outcome {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["xencall"] => calls::host().await,
        ["xencall-foreign", domain, frame] => calls::foreign(domain.parse()?, frame.parse()?).await,
        ["xenevtchn"] => events::channel().await,
        ["xengnt", domain, byte, references @ ..] => {
            let references: Result<Vec<u32>, _> = references.iter().map(|r| r.parse()).collect();
            grants::map(domain.parse()?, byte.parse()?, &references?)
        }
        ["xenstore"] => store::keys().await,
        ["vm-memory-foreign", domain, frame] => {
            memory::foreign(domain.parse()?, frame.parse()?).await
        }
        ["vm-memory-grant", domain, byte, reference] => {
            memory::granted(domain.parse()?, byte.parse()?, reference.parse()?)
        }
        _ => Err("no such part".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match part(&arguments).await {
        Ok(()) => {
            println!("as expected");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}
