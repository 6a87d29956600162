//! Organisations, users, API keys, providers and their models.

use parlance_storage::api_keys::ApiKey;
use parlance_storage::providers::{Model, Provider};
use parlance_storage::{Scope, api_keys, organisations, providers};

use crate::world::{NOW, World, id, later, read, write};

#[tokio::test]
async fn an_organisation_and_its_owner() {
    let world = World::new().await;
    let all = world.fill().await;
    let first = read!(world, Scope::System, tx => organisations::first(tx)).unwrap().unwrap();
    assert_eq!(first.id, world.tenant.organisation());
    assert_eq!((first.name.as_str(), first.time_zone.as_str(), first.created_at), ("First", "Asia/Taipei", NOW));
    let own = read!(world, world.stranger, tx => organisations::get(tx, world.stranger)).unwrap().unwrap();
    assert_eq!(own.id, world.stranger.organisation());

    let member = organisations::User { id: id(), name: "Member".into(), role: "member".into(), created_at: NOW };
    let tenant = world.tenant;
    write!(world, tenant, tx => organisations::insert_user(tx, tenant, &member)).unwrap();
    let owner = read!(world, tenant, tx => organisations::owner(tx, tenant)).unwrap().unwrap();
    assert_eq!((owner.id, owner.name.as_str(), owner.created_at), (all.user.id, "Owner", NOW));

    let again = organisations::Organisation { id: tenant.organisation(), ..first };
    assert!(write!(world, tenant, tx => organisations::insert(tx, &again)).is_err(), "ids are unique");
}

#[tokio::test]
async fn an_api_key_lives_is_revoked_and_lives_again() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let hash = all.key.key_hash.clone();
    let found = read!(world, Scope::System, tx => api_keys::by_hash(tx, &hash)).unwrap().unwrap();
    assert_eq!(found.organisation, tenant.organisation());
    assert_eq!((found.id, found.user_id, found.expires_at), (all.key.id, all.user.id, Some(later(1000))));
    assert!(read!(world, Scope::System, tx => api_keys::by_hash(tx, "unknown")).unwrap().is_none());

    let key = all.key.id;
    assert!(write!(world, tenant, tx => api_keys::revoke(tx, tenant, key, later(5))).unwrap());
    assert!(write!(world, tenant, tx => api_keys::revoke(tx, tenant, key, later(9))).unwrap());
    assert!(!write!(world, tenant, tx => api_keys::revoke(tx, tenant, id(), later(9))).unwrap());
    let revoked = read!(world, Scope::System, tx => api_keys::by_hash(tx, &hash)).unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(later(5)), "the first time counts");

    let renewed = ApiKey { id: id(), scopes: "models:read".into(), expires_at: None, ..all.key };
    write!(world, tenant, tx => api_keys::upsert(tx, tenant, &renewed)).unwrap();
    let second = ApiKey { id: id(), key_hash: "second".into(), created_at: later(1), ..revoked };
    write!(world, tenant, tx => api_keys::upsert(tx, tenant, &second)).unwrap();
    let keys = read!(world, tenant, tx => api_keys::list(tx, tenant)).unwrap();
    assert_eq!(keys.iter().map(|key| key.key_hash.as_str()).collect::<Vec<_>>(), ["second", hash.as_str()]);
    assert_eq!(keys[1].id, key, "the same key, not another one");
    assert_eq!((keys[1].scopes.as_str(), keys[1].expires_at, keys[1].revoked_at), ("models:read", None, None));
}

#[tokio::test]
async fn a_provider_and_its_models() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let provider = all.provider.id;
    let stored = read!(world, tenant, tx => providers::get(tx, tenant, provider)).unwrap().unwrap();
    assert_eq!(stored.api_key_sealed, Some(vec![0, 1, 255]));
    assert_eq!((stored.kind.as_str(), stored.base_url.as_str()), ("openai", "https://models.example/v1"));

    let changed = Provider { name: "Renamed".into(), api_key_sealed: None, created_at: later(7), ..all.provider };
    write!(world, tenant, tx => providers::upsert(tx, tenant, &changed)).unwrap();
    let listed = read!(world, tenant, tx => providers::list(tx, tenant)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].created_at), ("Renamed", NOW));
    assert_eq!(listed[0].api_key_sealed, None);

    let kept = Model { name: "larger".into(), is_default: true, dimensions: None, ..all.model.clone() };
    let added = Model { id: id(), created_at: later(1), sees_images: false, ..all.model.clone() };
    let both = [kept, added.clone()];
    write!(world, tenant, tx => providers::replace_models(tx, tenant, provider, &both)).unwrap();
    let models = read!(world, tenant, tx => providers::models(tx, tenant)).unwrap();
    assert_eq!(models.iter().map(|model| model.id).collect::<Vec<_>>(), [all.model.id, added.id]);
    assert_eq!((models[0].name.as_str(), models[0].is_default, models[0].dimensions), ("larger", true, None));
    assert_eq!((models[1].sees_images, models[1].dimensions), (false, Some(1024)));

    write!(world, tenant, tx => providers::replace_models(tx, tenant, provider, &[added])).unwrap();
    assert_eq!(read!(world, tenant, tx => providers::models(tx, tenant)).unwrap().len(), 1);
    assert!(write!(world, tenant, tx => providers::delete(tx, tenant, provider)).unwrap());
    assert!(!write!(world, tenant, tx => providers::delete(tx, tenant, provider)).unwrap());
    assert!(read!(world, tenant, tx => providers::models(tx, tenant)).unwrap().is_empty());
}
