import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Carries out the commands of the suite, a JSON line each, with Kafka's own client: {@code Driver HOST:PORT}. */
public class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int LIMIT_MS = 60_000;

    private final String broker;
    private Admin admin;

    private Driver(String broker) {
        this.broker = broker;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        Driver driver = new Driver(args[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                driver.run(JSON.readTree(line), answer);
            } catch (Throwable thrown) {
                answer = failure(thrown);
            }
            out.write((JSON.writeValueAsString(answer) + "\n").getBytes(StandardCharsets.UTF_8));
            out.flush();
        }
        System.exit(0);
    }

    private static ObjectNode failure(Throwable thrown) {
        Throwable cause = thrown;
        while (cause.getCause() != null
            && (cause instanceof ExecutionException || cause instanceof CompletionException || cause instanceof InvocationTargetException)) {
            cause = cause.getCause();
        }
        ObjectNode answer = JSON.createObjectNode();
        answer.put("error", cause.toString());
        answer.put("code", Errors.forException(cause).code());
        return answer;
    }

    private void run(JsonNode command, ObjectNode answer) throws Exception {
        String topic = command.path("topic").asText();
        switch (command.get("do").asText()) {
            case "produce" -> produce(command, topic, answer);
            case "consume" -> consume(command, topic, answer);
            case "offsets" -> offsets(command, topic, answer);
            case "stream" -> stream(command, topic, answer);
            case "transact" -> transact(command, topic);
            case "join" -> Member.run(common(), command);
            case "raw" -> Class.forName("Raw").getMethod("run", String.class, JsonNode.class, ObjectNode.class)
                .invoke(null, broker, command, answer);
            default -> administer(command, topic, answer);
        }
    }

    private Map<String, Object> common() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", broker);
        config.put("request.timeout.ms", 30_000);
        config.put("default.api.timeout.ms", LIMIT_MS);
        return config;
    }

    private KafkaProducer<byte[], byte[]> producer(JsonNode command) {
        Map<String, Object> config = common();
        config.remove("default.api.timeout.ms");
        config.put("acks", command.path("acks").asText("all"));
        config.put("compression.type", command.path("codec").asText("none"));
        config.put("enable.idempotence", command.path("idempotent").asBoolean(false));
        config.put("max.request.size", 8 << 20);
        config.put("linger.ms", 20);
        int patience = command.path("limit_ms").asInt(LIMIT_MS);
        config.put("max.block.ms", patience);
        config.put("delivery.timeout.ms", patience);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private void produce(JsonNode command, String topic, ObjectNode answer) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(command)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : command.get("records")) {
                ProducerRecord<byte[], byte[]> made = new ProducerRecord<>(
                    topic,
                    record.hasNonNull("p") ? record.get("p").asInt() : null,
                    record.hasNonNull("t") ? record.get("t").asLong() : null,
                    bytes(record.get("k")),
                    bytes(record.get("v")));
                for (JsonNode header : record.path("h")) {
                    made.headers().add(header.get(0).asText(), bytes(header.get(1)));
                }
                sent.add(producer.send(made));
            }
            ArrayNode offsets = answer.putArray("offsets");
            for (Future<RecordMetadata> one : sent) {
                RecordMetadata where = one.get();
                offsets.addArray().add(where.partition()).add(where.offset());
            }
        }
    }

    /** One record in a transaction. */
    private void transact(JsonNode command, String topic) {
        Map<String, Object> config = common();
        config.remove("default.api.timeout.ms");
        config.put("transactional.id", command.get("id").asText());
        config.put("max.block.ms", LIMIT_MS);
        config.put("delivery.timeout.ms", LIMIT_MS);
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, "in a transaction".getBytes(StandardCharsets.US_ASCII)));
            producer.commitTransaction();
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> config = common();
        config.put("auto.offset.reset", "none");
        config.put("enable.auto.commit", false);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void consume(JsonNode command, String topic, ObjectNode answer) {
        TopicPartition partition = new TopicPartition(topic, command.get("p").asInt());
        int wanted = command.get("n").asInt();
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(partition));
            JsonNode from = command.get("from");
            if (from.isObject()) {
                OffsetAndTimestamp at = consumer.offsetsForTimes(Map.of(partition, from.get("time").asLong())).get(partition);
                consumer.seek(partition, at.offset());
            } else if (from.isNumber()) {
                consumer.seek(partition, from.asLong());
            } else {
                consumer.seekToBeginning(List.of(partition));
            }
            long deadline = System.currentTimeMillis() + command.path("limit_ms").asLong(LIMIT_MS);
            while (records.size() < wanted && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (records.size() < wanted) {
                        tell(record, records.addObject());
                    }
                }
            }
        }
    }

    private static void tell(ConsumerRecord<byte[], byte[]> record, ObjectNode to) {
        to.put("p", record.partition()).put("o", record.offset()).put("t", record.timestamp());
        to.put("k", text(record.key())).put("v", text(record.value()));
        ArrayNode headers = to.putArray("h");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(text(header.value()));
        }
    }

    private void offsets(JsonNode command, String topic, ObjectNode answer) {
        TopicPartition partition = new TopicPartition(topic, command.get("p").asInt());
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            answer.put("earliest", consumer.beginningOffsets(List.of(partition)).get(partition));
            answer.put("latest", consumer.endOffsets(List.of(partition)).get(partition));
            if (command.has("time")) {
                OffsetAndTimestamp at = consumer.offsetsForTimes(Map.of(partition, command.get("time").asLong())).get(partition);
                answer.put("at", at == null ? -1 : at.offset());
            }
        }
    }

    /** Sends numbered records until a file appears, through whatever happens to the broker. */
    private void stream(JsonNode command, String topic, ObjectNode answer) throws Exception {
        Path stop = Path.of(command.get("stop").asText());
        AtomicLong acknowledged = new AtomicLong();
        AtomicReference<Exception> failed = new AtomicReference<>();
        long sent = 0;
        try (KafkaProducer<byte[], byte[]> producer = producer(command)) {
            while (!Files.exists(stop) && failed.get() == null) {
                byte[] value = Long.toString(sent++).getBytes(StandardCharsets.US_ASCII);
                producer.send(new ProducerRecord<>(topic, command.get("p").asInt(), null, value), (where, error) -> {
                    if (error == null) {
                        acknowledged.incrementAndGet();
                    } else {
                        failed.compareAndSet(null, error);
                    }
                });
                Thread.sleep(1);
            }
            producer.flush();
        }
        if (failed.get() != null) {
            throw failed.get();
        }
        answer.put("sent", sent).put("acked", acknowledged.get());
    }

    private void administer(JsonNode command, String topic, ObjectNode answer) throws Exception {
        if (admin == null) {
            admin = Admin.create(common());
        }
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        switch (command.get("do").asText()) {
            case "create" -> {
                Map<String, String> configs = new HashMap<>();
                command.path("configs").fields().forEachRemaining(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
                admin.createTopics(List.of(new NewTopic(topic, command.get("partitions").asInt(), (short) 1).configs(configs))).all().get();
            }
            case "describe" -> answer.put("partitions",
                admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            case "topics" -> admin.listTopics().names().get().forEach(answer.putArray("topics")::add);
            case "configs" -> {
                ObjectNode configs = answer.putObject("configs");
                for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
                    configs.put(entry.name(), entry.value());
                }
            }
            case "alter" -> {
                List<AlterConfigOp> operations = new ArrayList<>();
                command.get("configs").fields().forEachRemaining(entry -> operations.add(new AlterConfigOp(
                    new ConfigEntry(entry.getKey(), entry.getValue().asText()), AlterConfigOp.OpType.SET)));
                admin.incrementalAlterConfigs(Map.of(resource, operations)).all().get();
            }
            case "grow" -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(command.get("partitions").asInt()))).all().get();
            case "truncate" -> {
                TopicPartition partition = new TopicPartition(topic, command.get("p").asInt());
                RecordsToDelete before = RecordsToDelete.beforeOffset(command.get("before").asLong());
                answer.put("low", admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark());
            }
            case "delete" -> admin.deleteTopics(List.of(topic)).all().get();
            default -> throw new IllegalArgumentException("no such command: " + command);
        }
    }

    private static byte[] bytes(JsonNode text) {
        return text == null || text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }
}
