//! Killed between effect and answer, a request that is sent again under its key happens once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::install::Install;
use crate::ledger::{Address, kill_again_and_again, wait_for_restart};

const REQUESTS: usize = 2000;

/// Ids by name, as they were answered.
type Made = BTreeMap<String, String>;

async fn make_chatbots(mut address: Address, next: Arc<AtomicUsize>, made: Arc<Mutex<Made>>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return;
        }
        let name = format!("Once {number:04}");
        loop {
            let client = address.borrow_and_update().clone();
            let request = client.post("chatbots/", &json!({"name": name})).header("Idempotency-Key", &name[5..]);
            let answer = async {
                let response = request.send().await?;
                Ok((response.status().as_u16(), response.json::<Value>().await?))
            };
            match answer.await {
                Ok((201, body)) => {
                    assert_eq!(body["name"], name.as_str());
                    made.lock().unwrap().insert(name, body["id"].as_str().unwrap().to_owned());
                    break;
                }
                Ok((status, body)) => panic!("{status} {body}"),
                Err(error) => wait_for_restart(&error, &mut address).await,
            }
        }
    }
}

#[tokio::test]
async fn each_key_has_one_effect_however_often_the_server_is_killed() {
    let install = Install::new().await;
    let server = install.start().await;
    let client = install.client(&server);
    let (address, following) = watch::channel(client.clone());
    let (next, made): (Arc<AtomicUsize>, Arc<Mutex<Made>>) = Default::default();
    let writers: Vec<_> =
        (0..4).map(|_| tokio::spawn(make_chatbots(following.clone(), Arc::clone(&next), Arc::clone(&made)))).collect();
    let (server, kills) = kill_again_and_again(&install, server, &address, &writers).await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(kills >= 10, "{kills}");
    let page = client.at(&server).get("chatbots/?query=once&pageSize=10000").send().await.unwrap();
    let page: Value = page.error_for_status().unwrap().json().await.unwrap();
    let stored: Vec<(String, String)> = page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bot| (bot["name"].as_str().unwrap().to_owned(), bot["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(stored.len(), REQUESTS, "one of each");
    assert_eq!(stored.into_iter().collect::<Made>(), *made.lock().unwrap());
    server.stop().await;
}
