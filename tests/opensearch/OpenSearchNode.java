import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

/** OpenSearch as one node for tests: java OpenSearchNode FOLDER PORT TRANSPORT_PORT */
public class OpenSearchNode {
    static class SingleNode extends Node {
        SingleNode(Environment environment) {
            super(environment, List.<Class<? extends Plugin>>of(
                org.opensearch.transport.Netty4Plugin.class,
                org.opensearch.analysis.common.CommonAnalysisPlugin.class), false);
        }
    }

    public static void main(String[] args) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", args[0]).put("path.data", args[0] + "/data").put("path.logs", args[0] + "/logs")
            .put("cluster.name", "tests").put("node.name", "one").put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1").put("http.port", args[1]).put("transport.port", args[2])
            .put("transport.type", "netty4").put("http.type", "netty4").put("node.store.allow_mmap", false)
            .put("cluster.routing.allocation.disk.threshold_enabled", false).build();
        Path config = Path.of(args[0], "config");
        Node node = new SingleNode(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "one"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        node.start();
        new CountDownLatch(1).await();
    }
}
