package peers;

import java.net.URI;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;

/** Golden records in Redis by SET, many in one pipeline. */
final class View implements AutoCloseable {
    static final int PIPELINED = 1_000;
    private static final byte[] PREFIX = "stock:".getBytes();

    private final Jedis redis;
    private final Pipeline pipeline;
    private int waiting;

    View(String url) {
        redis = new Jedis(URI.create(url));
        pipeline = redis.pipelined();
    }

    void set(byte[] key, byte[] record) {
        byte[] name = new byte[PREFIX.length + key.length];
        System.arraycopy(PREFIX, 0, name, 0, PREFIX.length);
        System.arraycopy(key, 0, name, PREFIX.length, key.length);
        pipeline.set(name, record);
        if (++waiting >= PIPELINED) {
            sync();
        }
    }

    /** Waits until Redis has all of them. */
    void sync() {
        if (waiting > 0) {
            pipeline.sync();
            waiting = 0;
        }
    }

    @Override
    public void close() {
        sync();
        redis.close();
    }
}
