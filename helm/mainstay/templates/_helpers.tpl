{{/* Names. 45 characters leave room for "-headless", the ordinal and the revision's hash label. */}}
{{- define "mainstay.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "mainstay.headless" -}}{{ include "mainstay.fullname" . }}-headless{{- end }}

{{- define "mainstay.headlessDomain" -}}
{{ include "mainstay.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- define "mainstay.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mainstay.labels" -}}
{{ include "mainstay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mainstay.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- define "mainstay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mainstay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "mainstay.ipFamilies" -}}
{{- with .Values.ipFamilyPolicy -}}
ipFamilyPolicy: {{ . }}
{{ end }}
{{- with .Values.ipFamilies -}}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}

{{/* "addresses" of a door: every bind address with the port. */}}
{{- define "mainstay.addresses" -}}
{{- $port := .port -}}
{{- $out := list -}}
{{- range .root.Values.bindAddresses }}{{ $out = append $out (printf "%s:%d" . $port) }}{{ end -}}
{{- toJson $out -}}
{{- end }}

{{/* A listener's PROXY keys. A bare `off` in YAML is the boolean false, and is meant as off. */}}
{{- define "mainstay.proxy" -}}
{{- $mode := .listener.proxyProtocol -}}
{{- if kindIs "bool" $mode }}{{ $mode = "off" }}{{ end -}}
{{- if and (ne $mode "off") (not .listener.trustedNetworks) -}}
{{- fail (printf "listeners.%s.trustedNetworks must name the load balancer's networks when proxyProtocol is %s: whoever may send a PROXY header may claim any address" .name $mode) -}}
{{- end -}}
proxy_protocol = {{ toJson $mode }}
trusted_networks = {{ toJson .listener.trustedNetworks }}
{{- end }}

{{/* Spec of a Service for clients; used for `service` and for each of `extraServices`. */}}
{{- define "mainstay.clientServiceSpec" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $outside := ne $service.type "ClusterIP" -}}
{{- $balanced := eq $service.type "LoadBalancer" -}}
type: {{ $service.type }}
{{- with include "mainstay.ipFamilies" $root }}
{{ trim . }}
{{- end }}
selector:
  {{- include "mainstay.selectorLabels" $root | nindent 2 }}
{{- with $service.internalTrafficPolicy }}
internalTrafficPolicy: {{ . }}
{{- end }}
{{- if $outside }}
externalTrafficPolicy: {{ $service.externalTrafficPolicy }}
{{- end }}
{{- if $balanced }}
{{- with $service.loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with $service.loadBalancerIP }}
loadBalancerIP: {{ . | quote }}
{{- end }}
{{- with $service.loadBalancerSourceRanges }}
loadBalancerSourceRanges: {{ toJson . }}
{{- end }}
{{- if and $service.healthCheckNodePort (eq $service.externalTrafficPolicy "Local") }}
healthCheckNodePort: {{ $service.healthCheckNodePort | int }}
{{- end }}
{{- end }}
ports:
  {{- range $name := list "mqtts" "mqtt" }}
  {{- if or (eq $name "mqtts") $root.Values.listeners.mqtt.enabled }}
  - name: {{ $name }}
    port: {{ index $service.ports $name | int }}
    targetPort: {{ $name }}
    {{- $nodePort := dig $name 0 (default dict $service.nodePorts) }}
    {{- if and $outside $nodePort }}
    nodePort: {{ $nodePort | int }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}
