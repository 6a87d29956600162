//! Tools, which assistants have them, and what contacts call them with.

use parlance_domain::Error;
use parlance_storage::contact_credentials::{ContactCredential, ShownCredential};
use parlance_storage::tools::{Tool, ToolSummary};
use parlance_storage::{Page, chatbots, contact_credentials, tools};

use crate::world::{World, id, later, read, write};

#[tokio::test]
async fn a_tool_is_changed_listed_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (first, chatbot) = (all.tool.id, all.chatbot.id);
    assert_eq!(read!(world, tenant, tx => tools::get(tx, tenant, first)).unwrap(), Some(all.tool.clone()));
    let second = Tool {
        id: id(),
        tool_type: "mcp".into(),
        names_folded: "calendar".into(),
        created_at: later(1),
        ..all.tool.clone()
    };
    write!(world, tenant, tx, second => tools::insert(tx, tenant, &second)).unwrap();
    let list = async |filter: Option<&str>, kind: Option<&str>, page: Page| {
        let listing = read!(world, tenant, tx => tools::list(tx, tenant, (filter, kind), page)).unwrap();
        (listing.total, listing.rows)
    };
    assert_eq!(list(None, None, Page::ALL).await, (2, vec![second.clone(), all.tool.clone()]));
    assert_eq!(list(None, None, Page { offset: 1, limit: 1 }).await, (2, vec![all.tool.clone()]));
    assert_eq!(list(Some("%"), None, Page::ALL).await, (1, vec![all.tool.clone()]));
    assert_eq!(list(None, Some("mcp"), Page::ALL).await, (1, vec![second.clone()]));
    assert_eq!(list(Some(&"x".repeat(10_000)), None, Page::ALL).await.0, 0);

    let changed = Tool {
        name: "weather_2".into(),
        url: "https://other.example/".into(),
        headers_sealed: None,
        header_names: "[]".into(),
        updated_at: later(3),
        ..all.tool.clone()
    };
    write!(world, tenant, tx, changed => tools::update(tx, tenant, &changed)).unwrap();
    assert_eq!(read!(world, tenant, tx => tools::get(tx, tenant, first)).unwrap(), Some(changed));

    let of_chatbot = async || {
        let found = read!(world, tenant, tx => tools::of_chatbot(tx, tenant, chatbot)).unwrap();
        found.into_iter().map(|tool: ToolSummary| tool.id).collect::<Vec<_>>()
    };
    assert_eq!(of_chatbot().await, [first]);
    let both = [second.id, first];
    write!(world, tenant, tx => tools::set_of_chatbot(tx, tenant, chatbot, &both)).unwrap();
    assert_eq!(of_chatbot().await, both, "in the order they were given");
    assert!(write!(world, tenant, tx => tools::delete(tx, tenant, first)).unwrap());
    assert!(!write!(world, tenant, tx => tools::delete(tx, tenant, first)).unwrap());
    assert_eq!(of_chatbot().await, [second.id]);
    let (contact, tool) = (all.contact.id, first);
    assert!(read!(world, tenant, tx => contact_credentials::find(tx, tenant, contact, tool)).unwrap().is_none());
    assert!(write!(world, tenant, tx => chatbots::delete(tx, tenant, chatbot)).unwrap());
    assert!(read!(world, tenant, tx => tools::get(tx, tenant, second.id)).unwrap().is_some());
}

#[tokio::test]
async fn a_contact_has_one_credential_for_a_tool() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (contact, tool, credential) = (all.contact.id, all.tool.id, all.credential.id);
    let headers = async || read!(world, tenant, tx => contact_credentials::headers(tx, tenant, contact, tool)).unwrap();
    let found = read!(world, tenant, tx => contact_credentials::find(tx, tenant, contact, tool)).unwrap();
    assert_eq!(found, Some(credential));
    assert_eq!(headers().await, Some((credential, vec![1, 2, 3])));
    let twin = ContactCredential { id: id(), ..all.credential.clone() };
    let refused = write!(world, tenant, tx => contact_credentials::upsert(tx, tenant, &twin));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let changed = ContactCredential { headers_sealed: vec![9], updated_at: later(4), ..all.credential.clone() };
    write!(world, tenant, tx => contact_credentials::upsert(tx, tenant, &changed)).unwrap();
    assert_eq!(headers().await, Some((credential, vec![9])));
    let shown = async || read!(world, tenant, tx => contact_credentials::of_contacts(tx, tenant, &[contact])).unwrap();
    let expected = ShownCredential {
        id: credential,
        contact_id: contact,
        tool_id: tool,
        tool_name: all.tool.display_name.clone(),
        created_at: all.credential.created_at,
        updated_at: later(4),
    };
    assert_eq!(shown().await, [expected]);
    let deleted = write!(world, tenant, tx => contact_credentials::delete_of_tool(tx, tenant, tool));
    assert_eq!((deleted.unwrap(), shown().await), (1, vec![]));
    let again = all.credential.clone();
    write!(world, tenant, tx => contact_credentials::upsert(tx, tenant, &again)).unwrap();
    let deleted = write!(world, tenant, tx => contact_credentials::delete_of_contact(tx, tenant, contact));
    assert_eq!((deleted.unwrap(), shown().await), (1, vec![]));
}
