//! FAQs and labels.

use parlance_domain::kind::{KnowledgeBaseId, ModelId};
use parlance_domain::{Error, Id};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::faqs::{self, Faq, Filter};
use parlance_storage::index_changes::{self, IndexChange};
use parlance_storage::labels::{self, Label};
use parlance_storage::{Page, Scope, contacts, files, inboxes};

use crate::world::{NOW, World, id, later, read, write};

/// A label to store.
pub(crate) fn label(base: KnowledgeBaseId, name: &str) -> Label {
    Label { id: id(), knowledge_base_id: base, name: name.into(), name_folded: name.to_lowercase(), created_at: NOW }
}

/// An FAQ to store.
pub(crate) fn faq(base: KnowledgeBaseId, question: &str, answer: &str) -> Faq {
    Faq {
        id: id(),
        knowledge_base_id: base,
        question: question.into(),
        answer: answer.into(),
        folded: format!("{question}\n{answer}").to_lowercase(),
        raw_metadata: None,
        hits_count: 0,
        generation: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

#[tokio::test]
async fn labels_are_made_listed_carried_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base) = (world.tenant, all.base.id);
    let second = label(base, "Staff_100%");
    write!(world, tenant, tx, second => labels::insert(tx, tenant, &second)).unwrap();
    let again = label(base, "Staff_100%");
    let taken = write!(world, tenant, tx => labels::insert(tx, tenant, &again));
    assert!(matches!(taken, Err(Error::Conflict(_))), "{taken:?}");
    assert_eq!(read!(world, tenant, tx => labels::get(tx, tenant, base, second.id)).unwrap(), Some(second.clone()));
    assert_eq!(read!(world, tenant, tx => labels::get(tx, tenant, id(), second.id)).unwrap(), None, "another base");
    let named = read!(world, tenant, tx => labels::by_name(tx, tenant, base, "Staff_100%")).unwrap();
    assert_eq!(named, Some(second.clone()));
    let list = async |name: Option<&str>| {
        let listing = read!(world, tenant, tx => labels::list(tx, tenant, base, name, Page::ALL)).unwrap();
        assert_eq!(listing.total, listing.rows.len() as u64);
        listing.rows.into_iter().map(|label| label.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ["Staff_100%", "Public"]);
    assert_eq!(read!(world, tenant, tx => labels::count(tx, tenant, base)).unwrap(), 2);
    assert_eq!(list(Some("f_1")).await, ["Staff_100%"]);
    assert_eq!(list(Some(&"x".repeat(60_000))).await, [""; 0]);
    assert!(read!(world, tenant, tx => labels::any(tx, tenant, &[id(), base])).unwrap());
    assert!(!read!(world, tenant, tx => labels::any(tx, tenant, &[id()])).unwrap());

    let elsewhere: Id<_> = id();
    let both = [second.id, all.label.id, elsewhere];
    write!(world, tenant, tx => labels::set_of_file(tx, tenant, all.file.id, &both)).unwrap();
    let carried = read!(world, tenant, tx => labels::of_files(tx, tenant, &[all.file.id])).unwrap();
    let expected =
        [(all.file.id, all.label.id, "Public".to_owned()), (all.file.id, second.id, "Staff_100%".to_owned())];
    assert_eq!(carried, expected);
    let with = read!(world, tenant, tx => labels::files_with(tx, tenant, &[second.id, id()])).unwrap();
    assert_eq!(with, [(second.id, all.file.id)]);
    let by_label = files::Filter { label: Some(second.id), ..files::Filter::default() };
    assert_eq!(read!(world, tenant, tx => files::list(tx, tenant, &[base], &by_label, Page::ALL)).unwrap().total, 1);
    let renamed = Label { name: "Team".into(), name_folded: "team".into(), ..second.clone() };
    write!(world, tenant, tx => labels::update(tx, tenant, &renamed)).unwrap();
    assert_eq!(list(Some("team")).await, ["Team"]);
    write!(world, tenant, tx => labels::set_of_faq(tx, tenant, all.faq.id, &[second.id])).unwrap();
    let carried = read!(world, tenant, tx => labels::of_faqs(tx, tenant, &[all.faq.id])).unwrap();
    assert_eq!(carried, [(all.faq.id, second.id, "Team".to_owned())]);
    assert!(write!(world, tenant, tx => labels::delete(tx, tenant, base, second.id)).unwrap());
    assert!(!write!(world, tenant, tx => labels::delete(tx, tenant, base, second.id)).unwrap());
    assert!(read!(world, tenant, tx => labels::of_faqs(tx, tenant, &[all.faq.id])).unwrap().is_empty());
    assert_eq!(read!(world, tenant, tx => labels::of_files(tx, tenant, &[all.file.id])).unwrap().len(), 1);
}

#[tokio::test]
async fn faqs_are_made_changed_listed_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base) = (world.tenant, all.base.id);
    let second = faq(base, "Open at 100%?", "Always.");
    write!(world, tenant, tx, second => faqs::insert(tx, tenant, &second)).unwrap();
    assert_eq!(read!(world, tenant, tx => faqs::get(tx, tenant, second.id)).unwrap(), Some(second.clone()));
    assert_eq!(second.text(), "Open at 100%?\nAlways.");
    let asked = [all.faq.id, second.id, id()];
    assert_eq!(read!(world, tenant, tx => faqs::by_ids(tx, tenant, &asked)).unwrap().len(), 2);
    assert!(read!(world, tenant, tx => faqs::by_ids(tx, tenant, &[])).unwrap().is_empty());
    let list = async |filter: Filter| {
        let listing = read!(world, tenant, tx => faqs::list(tx, tenant, &[base], &filter, Page::ALL)).unwrap();
        assert_eq!(listing.total, listing.rows.len() as u64);
        listing.rows.into_iter().map(|faq| faq.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Filter::default()).await, [second.id, all.faq.id]);
    assert_eq!(list(Filter { text_folded: Some("one y".into()), label: None }).await, [all.faq.id]);
    assert_eq!(list(Filter { text_folded: Some("100%".into()), label: None }).await, [second.id]);
    assert_eq!(list(Filter { text_folded: None, label: Some(all.label.id) }).await, [all.faq.id]);
    let none = read!(world, tenant, tx => faqs::list(tx, tenant, &[], &Filter::default(), Page::ALL)).unwrap();
    assert_eq!(none.total, 0);

    let changed = Faq { answer: "Never.".into(), updated_at: later(1), ..second.clone() };
    assert!(write!(world, tenant, tx => faqs::update(tx, tenant, &changed)).unwrap());
    assert!(write!(world, tenant, tx => faqs::describe(tx, tenant, second.id, Some("{\"a\": 1}"), later(2))).unwrap());
    write!(world, tenant, tx => faqs::count_hits(tx, tenant, &[second.id, second.id])).unwrap();
    let stored = read!(world, tenant, tx => faqs::get(tx, tenant, second.id)).unwrap().unwrap();
    assert_eq!((stored.answer.as_str(), stored.generation, stored.hits_count), ("Never.", 2, 2));
    assert_eq!((stored.raw_metadata.as_deref(), stored.updated_at), (Some("{\"a\": 1}"), later(2)));

    assert_eq!(read!(world, tenant, tx => faqs::first_of_base(tx, tenant, base, 1)).unwrap(), [all.faq.id]);
    assert_eq!(write!(world, tenant, tx => faqs::delete(tx, tenant, all.faq.id)).unwrap(), Some(base));
    assert_eq!(write!(world, tenant, tx => faqs::delete(tx, tenant, all.faq.id)).unwrap(), None);
    assert_eq!(read!(world, tenant, tx => faqs::first_of_base(tx, tenant, base, 9)).unwrap(), [second.id]);
}

#[tokio::test]
async fn what_narrows_inboxes_and_contacts_is_read() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let inbox = inboxes::Inbox { query_metadata: Some("{\"a\":1}".into()), ..all.inbox.clone() };
    write!(world, tenant, tx => inboxes::update(tx, tenant, &inbox)).unwrap();
    let narrowed = read!(world, tenant, tx => inboxes::query_metadata_of(tx, tenant, all.chatbot.id)).unwrap();
    assert_eq!(narrowed, [(all.inbox.id, "{\"a\":1}".to_owned())]);
    let contact = contacts::Contact { query_metadata: Some("{\"b\":1}".into()), ..all.contact.clone() };
    write!(world, tenant, tx => contacts::update(tx, tenant, &contact, &Terms::NONE)).unwrap();
    write!(world, tenant, tx => contacts::delete(tx, tenant, all.contact.id, later(1))).unwrap();
    let of = async |id| read!(world, tenant, tx => contacts::query_metadata(tx, tenant, id)).unwrap();
    assert_eq!((of(all.contact.id).await.as_deref(), of(id()).await), (Some("{\"b\":1}"), None));
    let who = world.stranger;
    assert_eq!(read!(world, Scope::System, tx => contacts::query_metadata(tx, who, all.contact.id)).unwrap(), None);
    let none = read!(world, Scope::System, tx => inboxes::query_metadata_of(tx, who, all.chatbot.id)).unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn vectors_belong_to_a_text_and_a_model() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base, entry) = (world.tenant, all.base.id, all.faq.id);
    let (model, other): (ModelId, ModelId) = (id(), id());
    let waiting = async |model| {
        let rows = read!(world, tenant, tx => faqs::without_vector_of(tx, tenant, base, model, (None, 9))).unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting(model).await, [entry]);
    let after = read!(world, tenant, tx => faqs::without_vector_of(tx, tenant, base, model, (Some(entry), 9))).unwrap();
    assert!(after.is_empty());
    let set = async |generation| {
        write!(world, tenant, tx => faqs::set_vector(tx, tenant, (entry, generation), model, &[1, 2, 3, 4])).unwrap()
    };
    assert!(!set(2).await, "of a text that is not there");
    assert!(set(1).await);
    assert_eq!((waiting(model).await, waiting(other).await), (vec![], vec![entry]));
    let indexed = read!(world, tenant, tx => faqs::indexed(tx, tenant, entry)).unwrap().unwrap();
    assert_eq!((indexed.vector.as_deref(), indexed.embedding_model_id), (Some([1, 2, 3, 4].as_slice()), Some(model)));
    assert_eq!((indexed.text(), indexed.generation), (all.faq.text(), 1));
    assert!(write!(world, tenant, tx => faqs::drop_vector(tx, tenant, entry)).unwrap());
    assert!(!write!(world, tenant, tx => faqs::drop_vector(tx, tenant, entry)).unwrap());
    assert_eq!(waiting(model).await, [], "not asked again");
    let changed = Faq { question: "Guarantee?".into(), ..all.faq.clone() };
    write!(world, tenant, tx => faqs::update(tx, tenant, &changed)).unwrap();
    assert_eq!(waiting(model).await, [entry]);

    let everything = read!(world, Scope::System, tx => faqs::searchable(tx, None, 9)).unwrap();
    assert_eq!(everything, [(tenant.organisation(), base, entry)]);
    assert!(read!(world, Scope::System, tx => faqs::searchable(tx, Some(entry), 9)).unwrap().is_empty());
    let change = IndexChange { id: id(), file_id: None, faq_id: Some(entry), ..all.change.clone() };
    write!(world, tenant, tx, change => index_changes::insert(tx, tenant, &change)).unwrap();
    assert_eq!(write!(world, Scope::System, tx => index_changes::delete_repeated(tx)).unwrap(), 2);
}
