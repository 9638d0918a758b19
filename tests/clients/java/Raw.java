import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.Base64;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * One request of any API in any version, spelled out in JSON, and the whole answer: Kafka's own generated classes encode
 * and decode, so that neither the suite nor the broker under test decides what a byte means.
 */
public class Raw {
    private static final int ANSWER_SIZE_MAX = 64 << 20;

    public static void run(String broker, JsonNode command, ObjectNode answer) throws Exception {
        ApiKeys api = ApiKeys.valueOf(command.get("api").asText());
        ApiMessageType type = ApiMessageType.fromApiKey(api.id);
        short version = (short) command.get("version").asInt();
        Class<?> converter = Class.forName("org.apache.kafka.common.message." + type.name + "RequestDataJsonConverter");
        ApiMessage request;
        try {
            request = (ApiMessage) converter.getMethod("read", JsonNode.class, short.class)
                .invoke(null, command.get("request"), version);
        } catch (InvocationTargetException wrapped) {
            answer.put("malformed", wrapped.getCause().toString());
            return;
        }
        RequestHeaderData header = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
            .setCorrelationId(7).setClientId("raw");
        int split = broker.lastIndexOf(':');
        try (Socket socket = new Socket(broker.substring(0, split), Integer.parseInt(broker.substring(split + 1)))) {
            socket.setSoTimeout(command.path("limit_ms").asInt(60_000));
            send(socket, header, type.requestHeaderVersion(version), request, version);
            ByteBuffer bytes = receive(socket);
            if (bytes == null) {
                answer.put("closed", true);
                return;
            }
            new ResponseHeaderData().read(new ByteBufferAccessor(bytes), type.responseHeaderVersion(version));
            answer.put("bytes", Base64.getEncoder().encodeToString(
                java.util.Arrays.copyOfRange(bytes.array(), bytes.position(), bytes.limit())));
            ApiMessage response = type.newResponse();
            response.read(new ByteBufferAccessor(bytes), version);
            answer.put("left", bytes.remaining());
            Class<?> out = Class.forName("org.apache.kafka.common.message." + type.name + "ResponseDataJsonConverter");
            answer.set("response", (JsonNode) out.getMethod("write", response.getClass(), short.class, boolean.class)
                .invoke(null, response, version, false));
        }
    }

    private static void send(Socket socket, RequestHeaderData header, short headerVersion, Message request, short version)
        throws IOException {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = header.size(cache, headerVersion) + request.size(cache, version);
        ByteBuffer frame = ByteBuffer.allocate(4 + size);
        ByteBufferAccessor to = new ByteBufferAccessor(frame);
        to.writeInt(size);
        header.write(to, cache, headerVersion);
        request.write(to, cache, version);
        DataOutputStream out = new DataOutputStream(socket.getOutputStream());
        out.write(frame.array(), 0, frame.position());
        out.flush();
    }

    private static ByteBuffer receive(Socket socket) throws IOException {
        DataInputStream in = new DataInputStream(socket.getInputStream());
        try {
            int size = in.readInt();
            if (size < 0 || size > ANSWER_SIZE_MAX) {
                throw new IOException("an answer of " + size + " bytes");
            }
            byte[] answer = new byte[size];
            in.readFully(answer);
            return ByteBuffer.wrap(answer);
        } catch (EOFException closed) {
            return null;
        } catch (java.net.SocketException reset) {
            return null;
        }
    }
}
