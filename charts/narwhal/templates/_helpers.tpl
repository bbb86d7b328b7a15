{{/* First word of all names. What follows it has at most 14 characters: `-operator-self`. */}}
{{- define "narwhal.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object. Called with (list $ "component"). */}}
{{- define "narwhal.labels" -}}
{{- $ := index . 0 -}}
{{ include "narwhal.selectorLabels" . }}
app.kubernetes.io/part-of: narwhal
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that select pods. They never change: a Deployment cannot select others. Called with (list $ "component"). */}}
{{- define "narwhal.selectorLabels" -}}
app.kubernetes.io/name: narwhal
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "narwhal.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Host of the gateway, without a port. */}}
{{- define "narwhal.apiHost" -}}
{{- regexReplaceAll "^https?://|:[0-9]+$" .Values.gateway.apiUrl "" -}}
{{- end -}}

{{/* `true` where the gateway itself has a certificate. */}}
{{- define "narwhal.gatewayTls" -}}
{{- if and .Values.gateway.tls.secretName (not .Values.gateway.ingress.enabled) }}true{{ end -}}
{{- end -}}

{{- define "narwhal.gatewayPort" -}}
{{- .Values.gateway.service.port | default (ternary 443 80 (eq (include "narwhal.gatewayTls" .) "true")) -}}
{{- end -}}

{{/* The first half of a pod's spec. Called with (list $ "component" values). */}}
{{- define "narwhal.pod" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
serviceAccountName: {{ include "narwhal.fullname" $ }}-{{ $component }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    # Nodes that take none of these pods do not count, and neither do pods of the Deployment's last version, which go.
    nodeTaintsPolicy: Honor
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "narwhal.selectorLabels" (list $ $component) | nindent 8 }}
{{- with index . 2 }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The first half of a container. Called with (list $ "component" values). */}}
{{- define "narwhal.container" -}}
{{- $ := index . 0 -}}
name: {{ index . 1 }}
image: {{ include "narwhal.image" $ }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
{{- with $.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
startupProbe:
  httpGet: {path: /livez, port: admin}
  timeoutSeconds: 5
  initialDelaySeconds: 1
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  timeoutSeconds: 5
  periodSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /livez, port: admin}
  timeoutSeconds: 5
  periodSeconds: 20
  failureThreshold: 3
{{- end -}}

{{/* What both programs are told. Node leaves a quarter of the memory limit for what lies outside of its heap. */}}
{{- define "narwhal.env" -}}
- name: NODE_OPTIONS
  value: --max-old-space-size-percentage=75
- name: NARWHAL_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end -}}

{{/* Combinations that cannot work, each with the way out. */}}
{{- define "narwhal.validateGateway" -}}
{{- $gateway := .Values.gateway -}}
{{- $url := $gateway.apiUrl -}}
{{- if not $gateway.enabled -}}
{{- if $url -}}
{{- fail "gateway.apiUrl is set, but there is no gateway: set gateway.enabled to true, or leave gateway.apiUrl empty" -}}
{{- end -}}
{{- else -}}
{{- $label := "[a-z0-9]([-a-z0-9]*[a-z0-9])?" -}}
{{- if not $url -}}
{{- fail "gateway.enabled needs gateway.apiUrl: set it to the URL that clients will use, such as https://cache.example.org" -}}
{{- end -}}
{{- if not (regexMatch (printf "^https?://(%s\\.)*[a-z]([-a-z0-9]*[a-z0-9])?(:[0-9]+)?$" $label) $url) -}}
{{- fail (printf "gateway.apiUrl is %s: give http:// or https:// and a host name in lower case, such as https://cache.example.org, without a path or a slash at the end; a cache is then https://<cache>.cache.example.org" $url) -}}
{{- end -}}
{{- if and $gateway.ingress.enabled $gateway.httpRoute.enabled -}}
{{- fail "gateway.ingress and gateway.httpRoute are both enabled: choose one of them" -}}
{{- end -}}
{{- if and $gateway.httpRoute.enabled (not $gateway.httpRoute.parentRefs) -}}
{{- fail "gateway.httpRoute.enabled needs gateway.httpRoute.parentRefs: name the Gateway to attach to, as in [{name: public, namespace: gateways}]" -}}
{{- end -}}
{{- if and $gateway.httpRoute.enabled $gateway.tls.secretName -}}
{{- fail "gateway.tls.secretName does not go with gateway.httpRoute: give the certificate to the listener of the Gateway and leave tls.secretName empty" -}}
{{- end -}}
{{- if and $gateway.tls.secretName (hasPrefix "http:" $url) -}}
{{- fail (printf "gateway.tls.secretName is set, but gateway.apiUrl is %s: write https:// there, since clients get URLs that begin like it" $url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
