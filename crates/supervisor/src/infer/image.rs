//! What is behind an image's name, as far as it matters for saying what to do.

use tutti_model::app::Service;

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
    ("etcd", "an etcd cluster", "etcd-server", 2379),
    ("consul", "a Consul registry", "", 8500),
    ("keycloak", "a Keycloak identity provider", "", 8080),
    ("clickhouse-server", "a ClickHouse database", "", 8123),
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
    let Some((_, what, package, port)) = ENGINES.iter().find(|(known, ..)| *known == repository(&image))
    else {
        let remedy = format!(
            "say in tutti.yaml how to run it (services: {{ {name}: {{ run: \"…\", dir: \"…\" }} }}), where it already runs \
             ({name}: {{ external: \"host:port\" }}), or that it can be left out ({name}: {{ skip: true }})"
        );
        return Cannot::Image { service: name, image, remedy };
    };
    let install = match *package {
        "" => "start one".to_owned(),
        package => format!("start one (on Debian: apt install {package})"),
    };
    let remedy = format!(
        "{install} and say where in tutti.yaml: services: {{ {name}: {{ external: \"127.0.0.1:{port}\" }} }}; or leave it out, if \
         the services can do without: {name}: {{ skip: true }}"
    );
    Cannot::Engine { service: name, image, what, remedy }
}

/// The last part of an image's name without tag and digest: `postgres` of `docker.io/library/postgres:16@sha256:…`.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::repository;

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
