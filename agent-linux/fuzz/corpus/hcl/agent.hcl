datacenter = "dc1"
server = true
bootstrap_expect = 3
client_addr = "127.0.0.1 {{ GetPrivateIP }}"
ports { http = 8500, dns = 8600 }
retry_join = ["10.0.0.1", "10.0.0.2"]
service {
  name = "web"
  port = 80
  tags = ["a", "b"]
  check { http = "http://localhost", interval = "10s", timeout = "1s" }
}
# comment
dns_config { service_ttl { "*" = "5s" } }
