//! A name server for tests, which tells what it is told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

type Records = HashMap<(String, RecordType), Vec<RData>>;

/// A name server on a UDP port of its own.
#[derive(Clone, Debug)]
pub struct NameServer {
    address: SocketAddr,
    records: Arc<Mutex<Option<Records>>>,
}

impl NameServer {
    /// Starts one that knows nothing.
    ///
    /// # Panics
    /// When there is no port for it.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its name server")]
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("a port");
        let server = Self { address, records: Arc::new(Mutex::new(Some(Records::new()))) };
        let records = Arc::clone(&server.records);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = {
                    let records = records.lock().unwrap_or_else(PoisonError::into_inner);
                    answer(&buffer[..length], records.as_ref())
                };
                drop(socket.send_to(&answer, from).await);
            }
        });
        server
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `name` another name of `target`.
    ///
    /// # Panics
    /// When `target` is no name.
    #[expect(clippy::expect_used, reason = "a mistake of the test")]
    pub fn set_cname(&self, name: &str, target: &str) {
        let target = Name::from_ascii(target).expect("a name");
        self.set(name, RecordType::CNAME, vec![RData::CNAME(CNAME(target))]);
    }

    /// Gives `name` an address.
    pub fn set_address(&self, name: &str, address: Ipv4Addr) {
        self.set(name, RecordType::A, vec![RData::A(A(address))]);
    }

    /// Puts texts at `name`.
    pub fn set_txt(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|text| RData::TXT(TXT::new(vec![(*text).to_owned()])));
        self.set(name, RecordType::TXT, texts.collect());
    }

    /// Forgets everything: there are no such names.
    pub fn clear(&self) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = Some(Records::new());
    }

    /// From now on it answers with a failure of its own.
    pub fn fail(&self) {
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn set(&self, name: &str, kind: RecordType, data: Vec<RData>) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get_or_insert_default().insert((name.to_ascii_lowercase(), kind), data);
    }
}

#[expect(clippy::expect_used, reason = "whoever asks here is the product, which asks well")]
fn answer(asked: &[u8], records: Option<&Records>) -> Vec<u8> {
    let mut message = Message::from_vec(asked).expect("a question").into_response();
    message.additionals.clear();
    message.edns = None;
    let Some(records) = records else {
        message.metadata.response_code = ResponseCode::ServFail;
        return message.to_vec().expect("an answer");
    };
    let query = message.queries[0].clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let found = records.get(&(name, query.query_type()));
    match found {
        Some(data) => {
            for data in data {
                message.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
            }
        }
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.to_vec().expect("an answer")
}
