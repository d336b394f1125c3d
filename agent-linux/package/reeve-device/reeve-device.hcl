# A device's configuration: copy it to /etc/reeve-device.hcl (mode 0600), then
# systemctl enable --now reeve-device
node_name  = "board"
bind_addr  = "10.0.0.13"         # where others reach it
retry_join = ["10.0.0.11"]       # any members
data_dir   = "/var/lib/reeve-device"
http_addr  = "127.0.0.1"
service { name = "pump" port = 80 }
check { id = "web" service_id = "pump" tcp = "127.0.0.1:80" interval = "10s" timeout = "2s" }
