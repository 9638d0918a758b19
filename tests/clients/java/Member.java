import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.FileWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A member of a group until it is told to stop, which says what becomes of it in a file, a JSON line each. */
class Member {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final FileWriter diary;
    private Set<TopicPartition> owned = Set.of();

    private Member(FileWriter diary) {
        this.diary = diary;
    }

    static void run(Map<String, Object> config, JsonNode command) throws IOException {
        int session = command.get("session_ms").asInt();
        String assignor = command.get("strategy").asText().equals("cooperative") ? "CooperativeStickyAssignor" : "RangeAssignor";
        config.put("group.id", command.get("group").asText());
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("session.timeout.ms", session);
        config.put("heartbeat.interval.ms", 1000);
        config.put("fetch.max.wait.ms", 100);
        config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
        if (command.hasNonNull("instance")) {
            config.put("group.instance.id", command.get("instance").asText());
        }
        Path stop = Path.of(command.get("stop").asText());
        try (FileWriter diary = new FileWriter(command.get("log").asText(), true);
             KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Member member = new Member(diary);
            consumer.subscribe(List.of(command.get("topic").asText()), member.listener());
            while (!Files.exists(stop)) {
                member.round(consumer);
            }
        }
    }

    private ConsumerRebalanceListener listener() {
        return new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                say("revoked", revoked);
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            }
        };
    }

    private void round(KafkaConsumer<byte[], byte[]> consumer) {
        ConsumerRecords<byte[], byte[]> found = consumer.poll(Duration.ofMillis(100));
        if (!consumer.assignment().equals(owned)) {
            owned = Set.copyOf(consumer.assignment());
            say("owns", owned);
        }
        Map<TopicPartition, OffsetAndMetadata> behind = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> record : found) {
            behind.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
            say(JSON.createObjectNode().put("e", "got").put("p", record.partition()).put("o", record.offset())
                .put("v", new String(record.value(), StandardCharsets.UTF_8)));
        }
        if (behind.isEmpty()) {
            return;
        }
        try {
            consumer.commitSync(behind);
            behind.forEach((where, offset) -> say(
                JSON.createObjectNode().put("e", "committed").put("p", where.partition()).put("o", offset.offset())));
        } catch (KafkaException failed) {
            say(JSON.createObjectNode().put("e", "failed").put("why", failed.toString()));
        }
    }

    private void say(String event, Collection<TopicPartition> partitions) {
        ObjectNode said = JSON.createObjectNode().put("e", event);
        ArrayNode parts = said.putArray("parts");
        partitions.forEach(one -> parts.addArray().add(one.topic()).add(one.partition()));
        say(said);
    }

    private void say(ObjectNode said) {
        try {
            diary.write(JSON.writeValueAsString(said) + "\n");
            diary.flush();
        } catch (IOException failed) {
            throw new java.io.UncheckedIOException(failed);
        }
    }
}
