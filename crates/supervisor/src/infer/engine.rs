//! What is behind an image's name, as far as it matters for saying what to do.

use tutti_model::app::{MountSource, Service};
use tutti_model::dockerfile::Dockerfile;

use super::Cannot;

/// Engines by the last part of the image's repository: what they are, and the Debian package and port of a local one.
const ENGINES: &[(&str, &str, &str, u16)] = &[
    ("postgres", "a PostgreSQL database", "postgresql", 5432),
    ("postgresql", "a PostgreSQL database", "postgresql", 5432),
    ("postgis", "a PostgreSQL database", "postgresql", 5432),
    ("timescaledb", "a PostgreSQL database", "postgresql", 5432),
    ("pgvector", "a PostgreSQL database", "postgresql", 5432),
    ("mysql", "a MySQL database", "mariadb-server", 3306),
    ("mariadb", "a MariaDB database", "mariadb-server", 3306),
    ("redis", "a Redis cache", "redis-server", 6379),
    ("redis-stack", "a Redis cache", "redis-server", 6379),
    ("valkey", "a Valkey cache", "redis-server", 6379),
    ("memcached", "a Memcached cache", "memcached", 11211),
    ("rabbitmq", "a RabbitMQ broker", "rabbitmq-server", 5672),
    ("nats", "a NATS broker", "nats-server", 4222),
    ("mongo", "a MongoDB database", "", 27017),
    ("mongodb", "a MongoDB database", "", 27017),
    ("kafka", "a Kafka broker", "", 9092),
    ("cp-kafka", "a Kafka broker", "", 9092),
    ("zookeeper", "a ZooKeeper ensemble", "zookeeperd", 2181),
    ("elasticsearch", "an Elasticsearch index", "", 9200),
    ("opensearch", "an OpenSearch index", "", 9200),
    ("cassandra", "a Cassandra database", "", 9042),
    ("dynamodb-local", "a local DynamoDB", "", 8000),
    ("localstack", "a local AWS", "", 4566),
    ("minio", "an S3-compatible object store", "", 9000),
    ("redismod", "a Redis cache", "redis-server", 6379),
    ("activemq", "an ActiveMQ broker", "", 61616),
    ("mosquitto", "an MQTT broker", "mosquitto", 1883),
    ("couchdb", "a CouchDB database", "", 5984),
    ("neo4j", "a Neo4j database", "", 7687),
    ("influxdb", "an InfluxDB database", "influxdb", 8086),
    ("mailhog", "a mail catcher", "", 1025),
    ("mailpit", "a mail catcher", "", 1025),
    ("maildev", "a mail catcher", "", 1025),
    ("mailcatcher", "a mail catcher", "", 1025),
    ("mssql/server", "an SQL Server database", "", 1433),
    ("azure-sql-edge", "an SQL Server database", "", 1433),
    ("etcd", "an etcd cluster", "etcd-server", 2379),
    ("consul", "a Consul registry", "", 8500),
    ("keycloak", "a Keycloak identity provider", "", 8080),
    ("clickhouse", "a ClickHouse database", "", 8123),
    ("clickhouse-server", "a ClickHouse database", "", 8123),
];

/// Web servers and reverse proxies by the last part of the image's repository.
const SERVERS: &[(&str, &str)] = &[
    ("nginx", "an nginx web server"),
    ("nginx-unprivileged", "an nginx web server"),
    ("nginx-proxy", "an nginx web server"),
    ("openresty", "an nginx web server"),
    ("httpd", "an Apache web server"),
    ("caddy", "a Caddy web server"),
    ("traefik", "a Traefik proxy"),
    ("haproxy", "an HAProxy proxy"),
    ("envoy", "an Envoy proxy"),
    ("kong", "a Kong gateway"),
];

/// The refusal for a service that is only an image.
pub(super) fn cannot(service: &Service) -> Cannot {
    let name = service.name.to_string();
    let Some(image) = service.image.clone() else {
        let remedy = format!(
            "add `build:` to the compose file, or in tutti.yaml: services: {{ {name}: {{ run: \"…\" }} }}"
        );
        return Cannot::Image { service: name, image: "(none)".to_owned(), remedy };
    };
    known(service, &image).unwrap_or_else(|| {
        let remedy = format!(
            "say in tutti.yaml how to run it (services: {{ {name}: {{ run: \"…\", dir: \"…\" }} }}), where it already runs \
             ({name}: {{ external: \"host:port\" }}), or that it can be left out ({name}: {{ skip: true }})"
        );
        Cannot::Image { service: name, image, remedy }
    })
}

/// The refusal for a service whose image is an engine with files of its own, and for which nothing is built.
pub(super) fn configured(service: &Service, dockerfile: &Dockerfile) -> Option<Cannot> {
    match dockerfile.bases.as_slice() {
        [only] => known(service, only),
        _ => None,
    }
}

/// The refusal for an image that is known to be an engine or a server.
fn known(service: &Service, image: &str) -> Option<Cannot> {
    let called = |known: &str| match known.contains('/') {
        true => image.split(':').next().is_some_and(|image| image.ends_with(known)),
        false => known == repository(image),
    };
    let (what, remedy) = match ENGINES.iter().find(|(known, ..)| called(known)) {
        Some((_, what, package, port)) => (*what, engine_remedy(service, package, *port)),
        None => {
            let (_, what) = SERVERS.iter().find(|(known, _)| called(known))?;
            (*what, server_remedy(service))
        }
    };
    Some(Cannot::Engine { service: service.name.to_string(), image: image.to_owned(), what, remedy })
}

fn engine_remedy(service: &Service, package: &str, port: u16) -> String {
    let name = &service.name;
    let install = match package {
        "" => "start one".to_owned(),
        package => format!("start one (on Debian: apt install {package})"),
    };
    format!(
        "{install} and say where in tutti.yaml: services: {{ {name}: {{ external: \"127.0.0.1:{port}\" }} }}; or leave it out, if \
         the services can do without: {name}: {{ skip: true }}"
    )
}

/// What a server in front of the others does is the gateway's work.
fn server_remedy(service: &Service) -> String {
    let name = &service.name;
    let only = Some(&service.depends_on).filter(|all| all.len() == 1).and_then(|all| all.keys().next());
    let peer = only.map_or("SERVICE", |peer| peer.as_str());
    let settings = service.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Bind(path) => path.file_name()?.to_str().filter(|name| name.contains(".conf")),
        _ => None,
    });
    let settings = settings.map_or_else(String::new, |file| format!(" as {file} has it"));
    format!(
        "Tutti's gateway does a reverse proxy's work: leave it out in tutti.yaml, services: {{ {name}: {{ skip: true }} }}, and say \
         what it serves{settings}, routes: [ {{ path: /, to: {peer} }} ]; or run one of this machine: {name}: {{ run: \"…\" }}"
    )
}

/// The last part of an image's name without tag and digest: `postgres` of `docker.io/library/postgres:16@sha256:…`.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use tutti_core::ServiceName;

    use super::*;

    #[test]
    fn a_proxy_is_told_from_a_database_and_leads_to_routes() {
        let mut service = Service::new(ServiceName::new("edge").unwrap());
        service.image = Some("nginx:alpine".to_owned());
        let remedy = cannot(&service).remedy().to_owned();
        assert!(
            remedy.contains("edge: { skip: true }")
                && remedy.contains("routes: [ { path: /, to: SERVICE } ]")
        );
        for (image, what) in [
            ("mcr.microsoft.com/mssql/server:2022-latest", "an SQL Server database"),
            ("envoyproxy/envoy:v1.30", "an Envoy proxy"),
            ("redislabs/redismod", "a Redis cache"),
        ] {
            let found = known(&service, image);
            assert!(
                matches!(&found, Some(Cannot::Engine { what: is, .. }) if *is == what),
                "{image}: {found:?}"
            );
        }
        assert_eq!(known(&service, "company/server:1"), None);
    }

    #[test]
    fn an_images_repository_is_found_in_every_spelling() {
        for image in [
            "postgres",
            "postgres:16",
            "docker.io/library/postgres:16-alpine",
            "host:5000/x/postgres@sha256:ab",
        ] {
            assert_eq!(repository(image), "postgres", "{image}");
        }
        assert_eq!(repository("shop-postgres-init"), "shop-postgres-init");
    }
}
