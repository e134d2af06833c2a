// SPDX-License-Identifier: GPL-2.0

//! Edera's xenstore: the daemon's socket, or `/dev/xen/xenbus` where there is none.

use std::time::Duration;

use tokio::time::timeout;
use xenstore::{XsdClient, XsdInterface};

use crate::{equal, Outcome};

const ROOT: &str = "/tests/rust";

/// Writes, reads, lists, watches, in a transaction and without.
pub async fn keys() -> Outcome {
    let client = XsdClient::open().await?;
    let key = format!("{ROOT}/key");
    client.write_string(&key, "one").await?;
    equal(
        client.read_string(&key).await?.as_deref(),
        Some("one"),
        "the value",
    )?;
    equal(client.list(ROOT).await?, vec!["key".to_owned()], "the keys")?;

    let mut watch = client.create_watch(&key).await?;
    client.bind_watch(&watch).await?;
    let wait = Duration::from_secs(20);
    // It fires when it is set, too.
    timeout(wait, watch.receiver.recv())
        .await?
        .ok_or("no watch")?;
    let transaction = client.transaction().await?;
    transaction.write_string(&key, "two").await?;
    equal(
        client.read_string(&key).await?.as_deref(),
        Some("one"),
        "the value before the transaction ends",
    )?;
    transaction.commit().await?;
    let heard = timeout(wait, watch.receiver.recv()).await?;
    equal(heard.as_deref(), Some(key.as_str()), "what has changed")?;
    equal(
        client.read_string(&key).await?.as_deref(),
        Some("two"),
        "the value",
    )?;
    client.rm("/tests").await?;
    equal(
        client.read_string(&key).await?,
        None,
        "the value that was removed",
    )
}
