package peers;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/** The reference job on Kafka Streams: one thread, a store in memory with its changelog. BENCH_* say where. */
public final class Main {
    private static final Duration CLOSE = Duration.ofSeconds(10);

    private Main() {}

    public static void main(String[] args) {
        Map<String, String> given = System.getenv();
        KafkaStreams streams = new KafkaStreams(topology(given), settings(given));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                System.exit(1);
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(CLOSE)));
        streams.start();
    }

    private static Topology topology(Map<String, String> given) {
        String redis = given.get("BENCH_REDIS");
        var states = Stores.keyValueStoreBuilder(
                Stores.inMemoryKeyValueStore(Resolve.STORE), Serdes.ByteArray(), Json.serde(Entity.class));
        return new Topology()
                .addSource("changes", new ByteArrayDeserializer(), Json.serde(Change.class).deserializer(),
                        given.get("BENCH_CHANGES"))
                .addProcessor("resolve", () -> new Resolve(redis), "changes")
                .addStateStore(states, "resolve")
                .addSink("records", given.get("BENCH_RECORDS"), new ByteArraySerializer(), new ByteArraySerializer(),
                        "resolve");
    }

    private static Properties settings(Map<String, String> given) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("BENCH_APP_ID"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("BENCH_KAFKA"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("BENCH_DIRECTORY"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, given.get("BENCH_COMMIT_MS"));
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, given.get("BENCH_POLL_RECORDS"));
        settings.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, given.get("BENCH_FETCH_BYTES"));
        settings.put(ProducerConfig.LINGER_MS_CONFIG, given.get("BENCH_LINGER_MS"));
        settings.put(ProducerConfig.BATCH_SIZE_CONFIG, given.get("BENCH_BATCH_BYTES"));
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        return settings;
    }
}
